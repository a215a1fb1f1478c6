// Numbers and times as people read them. An unknown value is "–".

const UNKNOWN = "–";
const known = (value) => value !== null && value !== undefined;

/** 1234 as "1.2k". */
export function count(value) {
  if (!known(value)) return UNKNOWN;
  if (value >= 999_500) return `${(value / 1e6).toFixed(value < 9.95e6 ? 1 : 0)}M`;
  if (value >= 999.5) return `${(value / 1e3).toFixed(value < 9950 ? 1 : 0)}k`;
  return String(Math.round(value * 10) / 10);
}

/** A rate per second. */
export function rate(value) {
  if (!known(value)) return UNKNOWN;
  if (value < 0.05) return "0";
  return value < 9.95 ? value.toFixed(1) : count(Math.round(value));
}

/** Bytes in units of 1024. */
export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1000 || unit === "GiB") {
      return `${value < 9.95 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    }
    value /= 1024;
  }
  return UNKNOWN;
}

/** CPU, 100 is one core. */
export function percent(value) {
  if (!known(value)) return UNKNOWN;
  return `${value < 9.95 && value > 0 ? value.toFixed(1) : Math.round(value)}%`;
}

/** Milliseconds. */
export function milliseconds(value) {
  if (!known(value)) return UNKNOWN;
  return value < 9.95 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

/** Seconds as "3h 12m". */
export function span(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) return "0s";
  return parts.slice(first, first + 2).map(([number, unit]) => number + unit).join(" ");
}

const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** The time of day, with its date if that is another day. */
export function time(ms) {
  const date = new Date(ms);
  return (date.toDateString() === new Date().toDateString() ? TIME : DAY).format(date);
}

/** Hours and minutes. */
export const minute = (ms) => SHORT.format(new Date(ms));

/** "1 worker", "2 workers". */
export const plural = (number, one) => `${number} ${one}${number === 1 ? "" : "s"}`;
