// Numbers and times, as the browser's language and time zone write them.

export const count = (number) => new Intl.NumberFormat().format(number);

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
});

export const timeFull = (seconds) => full.format(seconds * 1000);
export const timeShort = (seconds) => short.format(seconds * 1000);
export const timeRange = (first, last) => short.formatRange(first * 1000, last * 1000);

/** A label of a time axis that shows so many seconds. */
export function timeTick(seconds, span) {
  const style = span > 300 * 86400 ? { year: "numeric", month: "short" }
    : span > 4 * 86400 ? { month: "short", day: "numeric" }
      : span > 20 * 3600 ? { weekday: "short", hour: "2-digit", minute: "2-digit" }
        : span > 600 ? { hour: "2-digit", minute: "2-digit" }
          : { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  return new Intl.DateTimeFormat(undefined, style).format(seconds * 1000);
}

/** Seconds since 1970 as a value of <input type=datetime-local>, in the local time zone. */
export function toLocalInput(seconds) {
  if (seconds === null) return "";
  const date = new Date(seconds * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

export const fromLocalInput = (text) => (text ? new Date(text).getTime() / 1000 : null);

export const similarity = (value) => value.toFixed(2);

export function bytes(number) {
  return number < 1048576 ? `${Math.max(1, Math.round(number / 1024))} KiB`
    : `${(number / 1048576).toFixed(1)} MiB`;
}
