// Elements. Nothing here knows what is searched.

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

/** The value of the checked radio button of a name. */
export const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

export function choose(name, value) {
  for (const radio of document.getElementsByName(name)) radio.checked = radio.value === value;
}
