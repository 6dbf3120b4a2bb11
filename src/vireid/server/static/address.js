// A search as the part of the page's address after "#", which no server ever sees; and its images,
// which are kept for as long as the tab: in memory, and small ones beyond a reload.

import { boxText, readBox } from "./box.js";

const KEPT = "vireid-image-";
const ORDER = "vireid-images";
const MOST = 8; // images kept beyond a reload, if the browser has room for them
const images = new Map();

const LAST_MOMENT = 7258118400; // 2200-01-01, as the server has it

/** A time, or null: an address may be typed by anybody. */
function moment(text) {
  const seconds = text ? Number(text) : NaN;
  return seconds >= 0 && seconds < LAST_MOMENT ? seconds : null;
}

const sensor = (word, otherwise) => (["visible", "infrared"].includes(word) ? word : otherwise);

export function write({ rowId, images: shown, modality, top, filters }) {
  const words = new URLSearchParams();
  if (rowId) {
    words.set("row", rowId);
  } else {
    words.set("image", shown.map((image) => image.id).join(","));
    if (shown.some((image) => image.box)) words.set("box", shown.map((image) => boxText(image.box)).join(";"));
    words.set("taken", modality);
  }
  words.set("top", top);
  if (filters.modality) words.set("sensor", filters.modality);
  if (filters.cameras.length) words.set("cameras", filters.cameras.join(","));
  if (filters.people) words.set("identity", filters.people);
  if (filters.from !== null) words.set("from", filters.from);
  if (filters.to !== null) words.set("to", filters.to);
  return `#${words}`;
}

/** The search of an address, or null. Of its images, those that are gone are missing. */
export async function read(hash) {
  const words = new URLSearchParams(hash.slice(1));
  const rowId = words.get("row");
  if (!rowId && !words.get("image")) return null;
  const filters = {
    modality: sensor(words.get("sensor"), ""),
    cameras: (words.get("cameras") ?? "").split(",").filter(Boolean).map(Number).filter(Number.isSafeInteger),
    people: words.get("identity") ?? "",
    from: moment(words.get("from")),
    to: moment(words.get("to")),
  };
  const request = { top: Math.max(1, Math.round(Number(words.get("top")))) || 24, filters };
  if (rowId) return { ...request, rowId };
  const ids = words.get("image").split(",");
  const boxes = (words.get("box") ?? "").split(";");
  const found = await Promise.all(ids.map(recall));
  const kept = ids.map((id, i) => found[i] && { id, file: found[i], box: readBox(boxes[i]) });
  return { ...request, modality: sensor(words.get("taken"), "infrared"), images: kept.filter(Boolean), complete: kept.every(Boolean) };
}

/** A name for an image that is not yet kept. */
export function newId() {
  const [first, second] = crypto.getRandomValues(new Uint32Array(2));
  return (first * 2 ** 20 + (second >>> 12)).toString(36);
}

export async function keep({ id, file }) {
  if (images.has(id)) return;
  images.set(id, file);
  try {
    const url = await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = reject;
      reader.readAsDataURL(file);
    });
    const order = JSON.parse(sessionStorage.getItem(ORDER) ?? "[]");
    while (order.length >= MOST) sessionStorage.removeItem(KEPT + order.shift());
    sessionStorage.setItem(KEPT + id, JSON.stringify({ name: file.name, url }));
    sessionStorage.setItem(ORDER, JSON.stringify([...order, id]));
  } catch {
    // No room, or storage is blocked: the image lasts until the page is reloaded.
  }
}

async function recall(id) {
  if (images.has(id)) return images.get(id);
  try {
    const { name, url } = JSON.parse(sessionStorage.getItem(KEPT + id));
    const [head, body] = url.split(",");
    const data = Uint8Array.from(atob(body), (sign) => sign.charCodeAt(0));
    const file = new File([data], name, { type: head.slice(5).split(";")[0] });
    images.set(id, file);
    return file;
  } catch {
    return null;
  }
}

/** Forget every image and reason, when a user signs out. */
export function forget() {
  images.clear();
  try {
    sessionStorage.clear();
  } catch {
    // Storage is blocked: nothing was kept.
  }
}

/** A word that outlasts a reload of this tab. */
export const remembered = (name) => {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
};

export function remember(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // Storage is blocked.
  }
}
