export interface Peer { worker: number; slot: number; pool: string }
export type CallErrorKind = 'failed' | 'timed-out' | 'died' | 'full' | 'no-pool' | 'lost' | 'alone';
export class CallError extends Error { kind: CallErrorKind }
export interface Admission { ok: boolean; wait: number; retryAfter: number }
export type Handler = (data: any, from: Peer) => unknown;
export class Worker {
  readonly joined: Promise<Worker>;
  readonly peer: Peer;
  readonly alone: boolean;
  readonly draining: boolean;
  readonly failures: number;
  readonly dropped: number;
  on(topic: string, handler: Handler, options?: { wait?: boolean }): this;
  once(topic: string, handler: Handler): this;
  off(topic: string, handler?: Handler): this;
  addListener(topic: string, handler: Handler): this;
  removeListener(topic: string, handler: Handler): this;
  listenerCount(topic: string): number;
  setMaxListeners(most: number): this;
  emit(topic: string, data?: unknown): boolean;
  send(slot: number, topic: string, data?: unknown): boolean;
  call(pool: string, topic: string, data?: unknown,
    options?: { timeout?: number; retry?: boolean }): Promise<any>;
  serve(topic: string, handler: Handler, options?: { atOnce?: number }): this;
  unserve(topic: string): this;
  action(name: string, handler: Handler): this;
  gauge(name: string, value: number, labels?: Record<string, string>): void;
  counter(name: string, more?: number, labels?: Record<string, string>): void;
  histogram(name: string, value: number, labels?: Record<string, string>): void;
  onConfig(handler: (values: any) => unknown): this;
  readonly connections: number;
  admit(): Admission;
  limit<Server extends { emit(event: string, ...rest: any[]): boolean }>(server: Server): Server;
  onDrain(run: () => void): this;
  ready(): void;
  leaving(): void;
  leave(): void;
}
export interface Identity {
  app: string; slot: number; pool: string; workers: number; generation: number;
}
export function identity(): Identity | null;
export function isLeader(): Promise<boolean>;
export function untilLeader(): Promise<void>;
export function join(options?: { pool?: string }): Worker;
