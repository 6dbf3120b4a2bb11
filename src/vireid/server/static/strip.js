// Where and when: one lane a camera, one dot a sighting.

import { h, s } from "./dom.js";
import { similarity, timeFull, timeTick } from "./format.js";
import * as T from "./texts.js";

const LANE = 20;
const TOP = 6;
const MAX_LANES = 8;
const LONGEST_NAME = 22; // characters

/**
 * Fill `box`, a <details>, with a strip of hits; without times there is nothing to draw.
 * onPick(hit) is called when a dot is clicked; `current` is the row_id to mark.
 */
export function drawStrip(box, hits, { title = null, note = "", onPick = null, current = null, width = 0 }) {
  const timed = hits.filter((hit) => hit.time !== null);
  box.hidden = timed.length === 0;
  if (box.hidden) return;
  const lanes = lanesOf(timed);
  const shown = lanes.slice(0, MAX_LANES);
  const placed = hits.some((hit) => hit.camid >= 0);
  const heading = title ?? (placed ? T.WHERE_AND_WHEN : T.WHEN);
  const summary = T.stripSummary(hits, timed);
  const wide = Math.max(280, width || box.clientWidth - 34 || 800);
  const drawing = drawTimes(timed, shown, wide, { onPick, current, placed });
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `${heading}. ${summary}`);
  const rest = lanes.length > shown.length
    ? h("p", { class: "hint" }, T.moreCameras(lanes.length - shown.length))
    : null;
  box.replaceChildren(
    h("summary", { class: "strip-head" }, h("h3", {}, heading), h("span", { class: "hint" }, note || summary)),
    h("div", { class: "strip-body" }, drawing), ...(rest ? [rest] : []),
    h("div", { class: "strip-foot" }, legend(timed), asTable(hits)));
}

/** [camera, one of its hits] of each lane: those with most hits first where not all are shown. */
function lanesOf(hits) {
  const counts = new Map();
  for (const hit of hits) counts.set(hit.camid, (counts.get(hit.camid) ?? 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1]).map(([camid]) => camid);
  const kept = [...most.slice(0, MAX_LANES).sort((a, b) => a - b), ...most.slice(MAX_LANES)];
  return kept.map((camid) => [camid, hits.find((hit) => hit.camid === camid)]);
}

function laneName(hit) {
  const name = T.cameraName(hit);
  return name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name;
}

function titled(text) {
  const tip = s("title");
  tip.textContent = text;
  return tip;
}

function drawTimes(timed, lanes, width, { onPick, current, placed }) {
  const names = lanes.map(([, hit]) => laneName(hit));
  const left = placed ? Math.max(...names.map((name) => 7 * name.length)) + 24 : 12;
  const right = 18;
  const height = TOP + lanes.length * LANE + 26;
  let first = Math.min(...timed.map((hit) => hit.time));
  let last = Math.max(...timed.map((hit) => hit.time));
  // One moment alone stands in the middle of ten minutes, not of a few seconds.
  const slack = Math.max((last - first) * 0.03, last - first < 120 ? 300 : 30);
  [first, last] = [first - slack, last + slack];
  const x = (time) => left + ((time - first) / (last - first)) * (width - left - right);
  const y = new Map(lanes.map(([camid], lane) => [camid, TOP + lane * LANE + LANE / 2]));
  const drawing = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "strip-svg" });
  const axis = TOP + lanes.length * LANE + 4;
  for (const time of ticks(first, last, Math.max(2, Math.floor((width - left) / 120)))) {
    const atEdge = x(time) > width - 34; // half a label would be cut off
    const label = s("text", {
      x: atEdge ? width : x(time), y: axis + 15, class: "tick", "text-anchor": atEdge ? "end" : "middle",
    });
    label.textContent = timeTick(time, last - first);
    drawing.append(s("line", { x1: x(time), x2: x(time), y1: TOP, y2: axis, class: "rule" }), label);
  }
  lanes.forEach(([camid, hit], lane) => {
    drawing.append(s("line", { x1: left - 8, x2: width, y1: y.get(camid), y2: y.get(camid), class: "lane-line" }));
    if (!placed) return;
    const name = s("text", { x: 0, y: y.get(camid) + 4, class: "lane" });
    name.append(names[lane], titled(T.cameraFull(hit)));
    drawing.append(name);
  });
  const worst = Math.min(...timed.map((hit) => hit.similarity));
  const best = Math.max(...timed.map((hit) => hit.similarity));
  const byRank = [...timed].sort((a, b) => a.similarity - b.similarity);
  for (const hit of byRank) {
    if (!y.has(hit.camid)) continue;
    const strength = best > worst ? (hit.similarity - worst) / (best - worst) : 1;
    const mark = s("circle", {
      cx: x(hit.time).toFixed(1), cy: y.get(hit.camid), r: (4 + 3 * strength).toFixed(1),
      class: `sighting ${hit.modality}${hit.row_id === current ? " current" : ""}`,
      "fill-opacity": (0.4 + 0.6 * strength).toFixed(2), onclick: onPick ? () => onPick(hit) : null,
    });
    mark.append(titled(T.sighting(hit)));
    if (onPick) mark.classList.add("pickable");
    drawing.append(mark);
  }
  return drawing;
}

function legend(hits) {
  const sensors = new Set(hits.map((hit) => hit.modality));
  return h("p", { class: "legend", "aria-hidden": "true" },
    ["visible", "infrared"].filter((name) => sensors.has(name)).map((name) =>
      h("span", {}, h("i", { class: `dot ${name}` }), T.sensorName(name))),
    h("span", { class: "hint" }, T.SIZE_MEANS));
}

function asTable(hits) {
  const rows = [...hits].sort((a, b) => (a.time ?? Infinity) - (b.time ?? Infinity)).map((hit) => h("tr", {},
    h("td", {}, hit.time === null ? T.UNKNOWN : timeFull(hit.time)),
    h("td", {}, T.cameraName(hit)),
    h("td", {}, T.sensorName(hit.modality)),
    h("td", { class: "number" }, similarity(hit.similarity))));
  return h("details", { class: "as-table" }, h("summary", {}, T.AS_TABLE),
    h("div", { class: "table-box" }, h("table", {},
      h("thead", {}, h("tr", {}, T.COLUMNS.map((name) =>
        h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows))));
}

const STEPS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 7776000, 31536000];

function ticks(first, last, most) {
  const step = STEPS.find((size) => (last - first) / size <= most) ?? (last - first) / most;
  const zone = new Date(first * 1000).getTimezoneOffset() * 60;
  const out = [];
  for (let time = Math.ceil((first - zone) / step) * step + zone; time <= last; time += step) out.push(time);
  return out;
}
