// Numbers and times as people read them. Owns: units and their rounding. Must not know: where a
// number came from. Bits and bytes have decimal prefixes; times are seconds since 1970.

import { language } from "./text.js";

const locale = navigator.languages.find((one) => one.startsWith(language)) || language;

const PREFIXES = ["", "k", "M", "G", "T"];
const numbers = [0, 1].map(
  (digits) => new Intl.NumberFormat(locale, { maximumFractionDigits: digits }),
);
const moments = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const days = new Intl.DateTimeFormat(locale, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const seconds = new Intl.DateTimeFormat(locale, {
  month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

function scaled(value, unit) {
  let at = 0;
  while (value >= 999.95 && at < PREFIXES.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${numbers[at > 1 ? 1 : 0].format(value)} ${PREFIXES[at]}${unit}`;
}

export const number = (value) => numbers[0].format(value);
export const decimal = (value) => numbers[1].format(value);
export const bitRate = (bits) => (bits ? scaled(bits, "bit/s") : "–");
export const size = (bytes) => scaled(bytes, "B");
export const moment = (at) => (at ? moments.format(at * 1000) : "–");
export const exact = (at) => (at ? seconds.format(at * 1000) : "–");
export const day = (at) => (at ? days.format(at * 1000) : "–");
export const hour = (at) => clock.format(at * 1000);

/** A span in its two largest units at most. */
export function duration(span) {
  const whole = Math.max(0, Math.floor(span));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** As `<input type="date">` has it, in the reader's own time zone, and back; "" is none. */
export function dateValue(at) {
  if (!at) return "";
  const when = new Date(at * 1000);
  const two = (part) => String(part).padStart(2, "0");
  return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
}

/** The last second of that day. */
export function dateMoment(text) {
  return text ? Math.floor(new Date(`${text}T23:59:59`).getTime() / 1000) : null;
}
