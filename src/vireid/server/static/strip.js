// Where and when: one lane a camera, one dot a sighting. Without times: one bar a camera.

import { cameraName, h, plural, s, sensorName, similarity, timeFull, timeRange } from "./dom.js";

const LANE = 24;
const TOP = 8;
const MAX_LANES = 12;

/**
 * Fill `box` with a strip of hits.
 * onPick(hit) is called when a dot is clicked; `current` is the row_id to mark.
 */
export function drawStrip(box, hits, { title, note = "", onPick = null, current = null, width = 0 }) {
  box.hidden = false; // a hidden box has no width to draw for
  const timed = hits.filter((hit) => hit.time !== null);
  const lanes = lanesOf(hits);
  const shown = lanes.slice(0, MAX_LANES);
  const head = h("div", { class: "strip-head" },
    h("h3", {}, title),
    h("p", { class: "hint" }, note || summary(hits, timed)));
  const wide = Math.max(280, width || box.clientWidth - 34 || 800);
  const drawing = timed.length
    ? drawTimes(timed, shown, wide, { onPick, current })
    : drawCounts(shown, wide, hits.length);
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `${title}. ${summary(hits, timed)}`);
  const rest = lanes.length > shown.length
    ? h("p", { class: "hint" }, `and ${plural(lanes.length - shown.length, "more camera", "more cameras")}`)
    : null;
  const body = h("div", { class: "strip-body" }, drawing);
  box.replaceChildren(head, body, ...(rest ? [rest] : []), h("div", { class: "strip-foot" }, legend(hits), asTable(hits)));
}

function lanesOf(hits) {
  const counts = new Map();
  for (const hit of hits) counts.set(hit.camid, (counts.get(hit.camid) ?? 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MAX_LANES).map(([camid]) => camid);
  const kept = [...counts].filter(([camid]) => most.includes(camid)).sort((a, b) => a[0] - b[0]);
  return [...kept, ...[...counts].filter(([camid]) => !most.includes(camid))];
}

function summary(hits, timed) {
  const cameras = new Set(hits.map((hit) => hit.camid)).size;
  const text = `${plural(hits.length, "image", "images")} from ${plural(cameras, "camera", "cameras")}`;
  if (!timed.length) return `${text}; their times are not recorded`;
  const times = timed.map((hit) => hit.time);
  const rest = hits.length - timed.length;
  const untimed = rest ? `; ${rest} of them without a time` : "";
  return `${text}, ${timeRange(Math.min(...times), Math.max(...times))}${untimed}`;
}

function drawTimes(timed, lanes, width, { onPick, current }) {
  const left = 92;
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
    label.textContent = tickText(time, last - first);
    drawing.append(s("line", { x1: x(time), x2: x(time), y1: TOP, y2: axis, class: "rule" }), label);
  }
  for (const [camid] of lanes) {
    const name = s("text", { x: 0, y: y.get(camid) + 4, class: "lane" });
    name.textContent = camid < 0 ? "Unknown" : `Camera ${camid}`;
    drawing.append(
      s("line", { x1: left - 8, x2: width, y1: y.get(camid), y2: y.get(camid), class: "lane-line" }), name);
  }
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
    const tip = s("title");
    tip.textContent = `${cameraName(hit.camid)}, ${timeFull(hit.time)}, similarity ${similarity(hit.similarity)}`;
    mark.append(tip);
    if (onPick) mark.classList.add("pickable");
    drawing.append(mark);
  }
  return drawing;
}

function drawCounts(lanes, width, total) {
  const left = 92;
  const drawing = s("svg", {
    viewBox: `0 0 ${width} ${TOP + lanes.length * LANE}`, width, height: TOP + lanes.length * LANE,
    class: "strip-svg",
  });
  const most = Math.max(...lanes.map(([, number]) => number), 1);
  lanes.forEach(([camid, number], lane) => {
    const y = TOP + lane * LANE;
    const name = s("text", { x: 0, y: y + 17, class: "lane" });
    name.textContent = camid < 0 ? "Unknown" : `Camera ${camid}`;
    const size = s("text", { x: left + 8 + ((width - left - 60) * number) / most, y: y + 17, class: "tick" });
    size.textContent = `${number} of ${total}`;
    drawing.append(name, size, s("rect", {
      x: left, y: y + 7, width: Math.max(2, ((width - left - 60) * number) / most), height: 12, rx: 4, class: "count",
    }));
  });
  return drawing;
}

function legend(hits) {
  const sensors = new Set(hits.map((hit) => hit.modality));
  return h("p", { class: "legend", "aria-hidden": "true" },
    ["visible", "infrared"].filter((name) => sensors.has(name)).map((name) =>
      h("span", {}, h("i", { class: `dot ${name}` }), sensorName(name))),
    h("span", { class: "hint" }, "Larger and stronger: more similar"));
}

function asTable(hits) {
  const rows = [...hits].sort((a, b) => (a.time ?? Infinity) - (b.time ?? Infinity)).map((hit) => h("tr", {},
    h("td", {}, hit.time === null ? "not recorded" : timeFull(hit.time)),
    h("td", {}, cameraName(hit.camid)),
    h("td", {}, sensorName(hit.modality)),
    h("td", { class: "number" }, similarity(hit.similarity))));
  return h("details", { class: "as-table" }, h("summary", {}, "As a table"),
    h("div", { class: "table-box" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Time", "Camera", "Sensor", "Similarity"].map((name) =>
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

function tickText(time, span) {
  const style = span > 4 * 86400 ? { month: "short", day: "numeric" }
    : span > 20 * 3600 ? { weekday: "short", hour: "2-digit", minute: "2-digit" }
      : span > 600 ? { hour: "2-digit", minute: "2-digit" }
        : { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  return new Intl.DateTimeFormat(undefined, style).format(time * 1000);
}
