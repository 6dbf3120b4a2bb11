// Elements, numbers and times. Nothing here knows what is searched.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element with properties ("class", "on…" and attributes) and children; text is never markup. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(path, extra = {}) {
  return s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", ...extra }, s("path", { d: path }));
}

export const count = (number) => new Intl.NumberFormat().format(number);

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
});

export const timeFull = (seconds) => full.format(seconds * 1000);
export const timeShort = (seconds) => short.format(seconds * 1000);

export const timeRange = (first, last) => short.formatRange(first * 1000, last * 1000);

/** Seconds since 1970 as a value of <input type=datetime-local>, in the local time zone. */
export function toLocalInput(seconds) {
  const date = new Date(seconds * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

export const fromLocalInput = (text) => (text ? new Date(text).getTime() / 1000 : null);

/** "3 min later", "2 h earlier". */
export function gap(seconds) {
  const size = Math.abs(seconds);
  if (size < 1) return "at the same time";
  const [number, unit] = size < 90 ? [size, "s"] : size < 5400 ? [size / 60, "min"]
    : size < 129600 ? [size / 3600, "h"] : [size / 86400, "days"];
  return `${Math.round(number)} ${unit} ${seconds > 0 ? "later" : "earlier"}`;
}

export const cameraName = (camid) => (camid < 0 ? "Camera unknown" : `Camera ${camid}`);
export const personName = (pid) => (pid < 0 ? "Identity not recorded" : `Person ${pid}`);
export const sensorName = (modality) => (modality === "infrared" ? "Infrared" : "Visible");
export const similarity = (value) => value.toFixed(2);

/** What a similarity means in this index, or null where that was not measured. */
export const strangers = ({ one_in: number }) => (number === null ? null
  : number < 2 ? "Strangers look this alike" : `1 in ${count(number)} strangers looks this alike`);

export function bytes(number) {
  return number < 1048576 ? `${Math.max(1, Math.round(number / 1024))} KiB`
    : `${(number / 1048576).toFixed(1)} MiB`;
}
