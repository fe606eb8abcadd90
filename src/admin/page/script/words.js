"use strict";
/* Constants, and numbers and times in words. All times are UTC, and say so. */

const PERIOD = 2000;            // milliseconds between two answers, at least
const HISTORY_PERIOD = 10000;   // milliseconds between two histories, at least
const WINDOW = 10;              // seconds over which a rate is measured
const HOUR = 3600;              // seconds for which what was lost or buried needs attention
const MINUTES = 60;             // minutes of a curve
const SOON = 14, VERY_SOON = 3; // days left of a certificate
const FIRST = 2;                // entries of a list before all are asked for
const FIRST_ROWS = 25;          // rows of a group before more are asked for
const MANY_ROWS = 60;           // rows from which on groups that are fine begin folded

const $ = id => document.getElementById(id);
const integers = new Intl.NumberFormat("en");
const { compare: inOrder } = new Intl.Collator("en", { numeric: true });

const number = n => n == null ? "–" : integers.format(n);
/** The same for what may be very much. */
const many = n => n < 1e5 ? number(n) : new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(n);
const rate = r => r == null ? "–" : r === 0 ? "0" : r < 0.1 ? "<0.1" : r < 10 ? r.toFixed(1) : integers.format(Math.round(r));
const plural = (n, one, many = one + "s") => `${number(n)} ${n === 1 ? one : many}`;
const sum = (items, of) => items.reduce((all, item) => all + (of(item) ?? 0), 0);
function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}
function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}
function millis(ms) {
  if (ms == null) return "–";
  if (ms >= 10000) return `${(ms / 1000).toFixed(0)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}
/** A time of day, of a number of milliseconds or a text of RFC 3339. */
const clock = time => `${new Date(time).toISOString().slice(11, 19)} UTC`;
const moment = time => `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;
/** What is left of a certificate, and how urgent that is: 0, 1 or 2. */
function left(notAfter, now) {
  const days = (Date.parse(notAfter) - now) / 86400000;
  if (days < 0) return { level: 2, text: "expired" };
  const text = days < 1 ? `${span(days * 86400)} left` : `${plural(Math.floor(days), "day")} left`;
  return { level: days < VERY_SOON ? 2 : days < SOON ? 1 : 0, text };
}
