// Hashes passwords, one at a time, and blocks its process for each: these workers do nothing else.
const { randomBytes, scryptSync, timingSafeEqual } = require('node:crypto');
const { join } = require('../../worker/node');

const worker = join();
const LENGTH = 32;

worker.serve('hash', ({ password }) => {
  if (password === '') throw new Error('an empty password');
  const salt = randomBytes(16);
  const key = scryptSync(password, salt, LENGTH);
  return { hash: `${salt.toString('hex')}.${key.toString('hex')}`, slot: Number(process.env.SUPERVISOR_SLOT) };
});

worker.serve('check', ({ password, hash }) => {
  const [salt, key] = hash.split('.').map((part) => Buffer.from(part, 'hex'));
  if (salt?.length !== 16 || key?.length !== LENGTH) throw new Error('that is no hash');
  return { right: timingSafeEqual(scryptSync(password, salt, LENGTH), key) };
});

worker.ready();
