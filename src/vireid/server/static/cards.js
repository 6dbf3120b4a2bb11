// The answer of a search as cards, flat or by person, and every state without cards.

import { cameraName, h, icon, personName, plural, s, sensorName, similarity, strangers, timeShort } from "./dom.js";
import { imageUrl } from "./server.js";

const FULL = 100_000;
const AGAIN = "M4.5 11a7.5 7.5 0 1 1 2.2 5.3M4 19v-4h4";
const PERSON = "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zm-7.5 8c.6-3.9 3.7-6 7.5-6s6.9 2.1 7.5 6";
const WARNING = "M12 8.5v4.5m0 3.2v.3M10.3 4.2 2.9 17a2 2 0 0 0 1.7 3h14.8a2 2 0 0 0 1.7-3L13.7 4.2a2 2 0 0 0-3.4 0z";

/** A gallery image that says so when it can't be shown. */
export function galleryImage(entry, size, alt) {
  const box = h("span", { class: "image" });
  const image = h("img", {
    src: imageUrl(entry.row_id, size), alt, loading: "lazy", decoding: "async", width: 144, height: 288,
  });
  image.addEventListener("load", () => box.classList.add("loaded"));
  image.addEventListener("error", () => {
    box.classList.add("missing");
    box.replaceChildren(icon(PERSON), h("span", {}, "Image can't be shown"));
  });
  box.append(image);
  return box;
}

/** A number and a bar: empty if strangers look this alike, full if only 1 in `FULL` does. */
export function meter(hit) {
  const width = hit.one_in === null ? 0 : Math.min(1, Math.log(hit.one_in) / Math.log(FULL)) * 100;
  return h("span", { class: "meter" },
    hit.one_in === null ? null : s("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { width: 100, height: 4, class: "meter-back" }),
      s("rect", { width: width.toFixed(1), height: 4, class: "meter-fill" })),
    h("span", { class: "meter-value" }, similarity(hit.similarity)));
}

export function describe(hit) {
  const time = hit.time === null ? "time not recorded" : timeShort(hit.time);
  return [`Result ${hit.rank}: similarity ${similarity(hit.similarity)}`, cameraName(hit.camid),
    sensorName(hit.modality).toLowerCase(), time, personName(hit.pid), strangers(hit)].filter(Boolean).join(", ");
}

function card(hit, { onOpen, onAgain }) {
  const open = h("button", {
    class: "card", type: "button", "aria-label": describe(hit), "data-row": hit.row_id, onclick: () => onOpen(hit),
  },
  h("span", { class: "card-image" }, galleryImage(hit, "thumb", ""), h("span", { class: "rank" }, String(hit.rank))),
  h("span", { class: "card-text" },
    meter(hit),
    hit.one_in === null ? null : h("span", { class: "card-line" }, strangers(hit)),
    h("span", { class: "card-line strong" }, h("i", { class: `dot ${hit.modality}`, title: sensorName(hit.modality) }),
      cameraName(hit.camid)),
    h("span", { class: "card-line" }, hit.time === null ? "Time not recorded" : timeShort(hit.time)),
    hit.pid < 0 ? null : h("span", { class: "card-line" }, personName(hit.pid))));
  const again = h("button", {
    class: "again", type: "button", title: "Search with this one",
    "aria-label": `Search with result ${hit.rank}`, onclick: () => onAgain(hit),
  }, icon(AGAIN));
  return h("li", {}, open, again);
}

/** Cards in order of similarity, or in groups of one recorded identity, best group first. */
export function showCards(box, hits, view, actions) {
  const list = (some) => h("ol", { class: "cards" }, some.map((hit) => card(hit, actions)));
  if (view === "flat") {
    box.replaceChildren(list(hits));
  } else {
    const groups = new Map();
    for (const hit of hits) {
      if (!groups.has(hit.pid)) groups.set(hit.pid, []);
      groups.get(hit.pid).push(hit);
    }
    const unknownLast = [...groups].sort((a, b) => (a[0] < 0) - (b[0] < 0));
    box.replaceChildren(...unknownLast.map(([pid, some]) => h("section", { class: "group", "aria-label": personName(pid) },
      h("div", { class: "group-head" }, h("h3", {}, personName(pid)),
        h("p", { class: "hint" }, `${plural(some.length, "image", "images")}, best ${similarity(some[0].similarity)}`)),
      list(some))));
  }
  box.setAttribute("aria-busy", "false");
}

export function showLoading(box, number) {
  const skeletons = Array.from({ length: Math.min(number, 24) }, () => h("li", { class: "skeleton" },
    h("span", { class: "bone tall" }), h("span", { class: "bone" }), h("span", { class: "bone half" })));
  box.replaceChildren(h("ol", { class: "cards", "aria-hidden": "true" }, skeletons));
  box.setAttribute("aria-busy", "true");
}

function state(box, kind, drawing, title, sentence, ...actions) {
  box.replaceChildren(h("div", { class: `state ${kind}` }, drawing, h("h2", {}, title), h("p", {}, sentence),
    actions.length ? h("div", { class: "state-actions" }, actions) : null));
  box.setAttribute("aria-busy", "false");
}

function twoSensors() {
  const body = "M22 31c6 0 10.5 4.5 10.5 11v13c0 2-1.2 3-3 3v22c0 3-2 4-4 4s-3.5-1-3.5-4c0 3-1.5 4-3.5 4s-4-1-4-4V58c-1.8 0-3-1-3-3V42c0-6.5 4.5-11 10.5-11z";
  const person = (x, name) => s("g", { transform: `translate(${x} 0)`, class: name },
    s("rect", { x: 0, y: 4, width: 44, height: 88, rx: 7, class: "frame" }),
    s("circle", { cx: 22, cy: 21, r: 7.5 }), s("path", { d: body }));
  return s("svg", { viewBox: "0 0 150 96", class: "drawing", "aria-hidden": "true" },
    person(2, "infrared"), s("path", { d: "M60 48h28m-7-7 7 7-7 7", class: "arrow" }), person(104, "visible"));
}

export function showStart(box, info) {
  if (info.count === 0) {
    state(box, "empty", twoSensors(), "The index is empty",
      "Add images to it from the shell with vireid index add, then reload this page.");
    return;
  }
  state(box, "empty", twoSensors(), "Find one person",
    "Choose an image of a person. You see the most similar images of every camera, from infrared to visible and back.");
}

export function showNothing(box, filtered, onClear) {
  state(box, "empty", icon(PERSON, { class: "drawing small" }), filtered ? "No image passes the filters" : "Nothing was found",
    filtered ? "Choose more cameras or a longer time." : "The index has no entries to compare with.",
    ...(filtered ? [h("button", { class: "button primary", type: "button", onclick: onClear }, "Clear filters and search")] : []));
}

const TITLES = {
  unreachable: "The server can't be reached", busy: "The server is busy", late: "The server is busy",
  rate: "Too many searches", too_large: "The image is too large", too_many_pixels: "The image is too large",
  not_an_image: "This is not an image we can read", broken: "The image is damaged",
  animated: "One image at a time", too_small: "The image is too small", empty: "The file is empty",
};

export function showFailure(box, failure, onRetry) {
  const retry = failure.status === 0 || failure.status >= 429;
  state(box, "failure", icon(WARNING, { class: "drawing small" }), TITLES[failure.code] ?? "The search did not work",
    failure.message,
    ...(retry ? [h("button", { class: "button primary", type: "button", onclick: onRetry }, "Try again")] : []));
  box.firstElementChild.setAttribute("role", "alert");
}

/** Arrow keys, Home and End move among the cards as they are seen. */
export function moveAmongCards(box, event) {
  const cards = [...box.querySelectorAll(".card")];
  const at = cards.indexOf(document.activeElement);
  if (at < 0) return;
  const here = cards[at].getBoundingClientRect();
  const rowStep = (sign) => {
    const others = cards.filter((other) => sign * (other.getBoundingClientRect().top - here.top) > 20);
    const lines = others.map((other) => other.getBoundingClientRect());
    const nearest = Math.min(...lines.map((line) => Math.abs(line.top - here.top)));
    return others.filter((_, i) => Math.abs(lines[i].top - here.top) < nearest + 20)
      .sort((a, b) => Math.abs(a.getBoundingClientRect().left - here.left) - Math.abs(b.getBoundingClientRect().left - here.left))[0];
  };
  const targets = {
    ArrowRight: () => cards[at + 1], ArrowLeft: () => cards[at - 1], Home: () => cards[0], End: () => cards.at(-1),
    ArrowDown: () => rowStep(1), ArrowUp: () => rowStep(-1),
  };
  if (!targets[event.key]) return;
  event.preventDefault();
  targets[event.key]()?.focus();
}
