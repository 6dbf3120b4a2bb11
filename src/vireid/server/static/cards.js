// The answer of a search as cards, flat, by person or by minute, and every state without cards.

import { h, icon, s } from "./dom.js";
import { similarity, timeShort } from "./format.js";
import { imageUrl } from "./server.js";
import * as T from "./texts.js";

const FULL = 100_000;
const WALK_SECONDS = 60; // between two images of one camera that are shown as one
const CARD_WIDTH = 152; // pixels, as style.css has it, with the gap
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
    box.replaceChildren(icon(PERSON), h("span", {}, T.CANNOT_SHOW));
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

function card(hit, { onOpen, onAgain, placed, timed }) {
  const open = h("button", {
    class: "card", type: "button", "aria-label": T.describe(hit), "data-row": hit.row_id, onclick: () => onOpen(hit),
  },
  h("span", { class: "card-image" }, galleryImage(hit, "thumb", ""), h("span", { class: "rank" }, String(hit.rank))),
  h("span", { class: "card-text" },
    meter(hit),
    hit.one_in === null ? null : h("span", { class: "card-line", title: T.strangers(hit) }, T.strangersShort(hit)),
    h("span", { class: "card-line strong" }, h("i", { class: `dot ${hit.modality}`, title: T.sensorName(hit.modality) }),
      h("span", { title: T.cameraFull(hit) }, placed ? T.cameraName(hit) : T.sensorName(hit.modality))),
    timed ? h("span", { class: "card-line" }, hit.time === null ? T.TIME_UNKNOWN : timeShort(hit.time)) : null,
    hit.pid === null ? null : h("span", { class: "card-line" }, T.personName(hit.pid))));
  const again = h("button", {
    class: "again", type: "button", title: T.AGAIN, "aria-label": T.againWith(hit.rank), onclick: () => onAgain(hit),
  }, icon(AGAIN));
  return h("li", {}, open, again);
}

/** Ways to arrange these hits: those that would change anything. */
export function viewsOf(hits) {
  const views = ["flat"];
  if (hits.some((hit) => hit.pid !== null)) views.push("person");
  if (walksOf(hits).some((walk) => walk.length > 1)) views.push("minute");
  return views;
}

/** Hits of one camera that follow each other within a minute, best walk first. */
function walksOf(hits) {
  const walks = new Map(); // best hit → walk
  const timed = hits.filter((hit) => hit.time !== null && hit.camid >= 0);
  const byTime = [...timed].sort((a, b) => a.camid - b.camid || a.time - b.time);
  let walk = [];
  for (const hit of byTime) {
    const last = walk.at(-1);
    if (last && (last.camid !== hit.camid || hit.time - last.time > WALK_SECONDS)) walk = [];
    walk.push(hit);
    if (walk.length === 1) walks.set(hit, walk);
  }
  const alone = hits.filter((hit) => hit.time === null || hit.camid < 0).map((hit) => [hit]);
  return [...walks.values(), ...alone].map((some) => [...some].sort((a, b) => a.rank - b.rank))
    .sort((a, b) => a[0].rank - b[0].rank);
}

/** Cards of which only the first are shown, and the button that unfolds the rest, if there is one. */
function folded(some, first, words, actions) {
  const items = some.map((hit) => card(hit, actions));
  const rest = items.slice(first);
  if (!rest.length) return { items, more: "" };
  const fold = (open) => {
    for (const item of rest) item.hidden = !open;
    more.firstChild.textContent = open ? T.FEWER : words(rest.length);
    more.setAttribute("aria-expanded", String(open));
  };
  const more = h("button", {
    class: "more", type: "button", onclick: () => fold(more.getAttribute("aria-expanded") === "false"),
  }, h("span"));
  fold(false);
  return { items, more };
}

/** Cards in order of similarity, in groups of one recorded identity, or one for each walk. */
export function showCards(box, hits, view, { onOpen, onAgain }) {
  // What isn't known of any of them isn't said of each.
  const actions = { onOpen, onAgain, placed: hits.some((hit) => hit.camid >= 0), timed: hits.some((hit) => hit.time !== null) };
  const list = (items) => h("ol", { class: "cards" }, items);
  if (view === "minute") {
    box.replaceChildren(list(walksOf(hits).flatMap((walk) => {
      const { items, more } = folded(walk, 1, T.moreOfMinute, actions);
      items[0].append(more);
      return items;
    })));
  } else if (view === "person") {
    const groups = new Map();
    for (const hit of hits) {
      if (!groups.has(hit.pid)) groups.set(hit.pid, []);
      groups.get(hit.pid).push(hit);
    }
    const unknownLast = [...groups].sort((a, b) => (a[0] === null) - (b[0] === null));
    const row = Math.max(2, Math.floor((box.clientWidth + 16) / CARD_WIDTH));
    box.replaceChildren(...unknownLast.map(([pid, some]) => {
      const { items, more } = folded(some, row, () => T.showAll(some.length), actions);
      return h("section", { class: "group", "aria-label": T.personName(pid) },
        h("div", { class: "group-head" }, h("h3", {}, T.personName(pid)), h("p", { class: "hint" }, T.groupFacts(some)), more),
        list(items));
    }));
  } else {
    box.replaceChildren(list(hits.map((hit) => card(hit, actions))));
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

/** One of the states of the texts, or a failure's. */
export function showState(box, name, onAction = null) {
  const [title, sentence, words] = T.STATES[name];
  const drawing = ["start", "empty"].includes(name) ? twoSensors() : icon(PERSON, { class: "drawing small" });
  state(box, "empty", drawing, title, sentence,
    ...(words ? [h("button", { class: "button primary", type: "button", onclick: onAction }, words)] : []));
}

export function showFailure(box, failure, onRetry) {
  const retry = failure.status === 0 || failure.status >= 429;
  state(box, "failure", icon(WARNING, { class: "drawing small" }), T.FAILURES[failure.code] ?? T.FAILED, failure.message,
    ...(retry ? [h("button", { class: "button primary", type: "button", onclick: onRetry }, T.RETRY)] : []));
  box.firstElementChild.setAttribute("role", "alert");
}

/** Arrow keys, Home and End move among the cards as they are seen. */
export function moveAmongCards(box, event) {
  const cards = [...box.querySelectorAll("li:not([hidden]) > .card")];
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
