// The filters of the form: sensor, cameras, identity, time. And those of a search, as chips.

import { $, choose, chosen, h, icon } from "./dom.js";
import { count, fromLocalInput, toLocalInput } from "./format.js";
import * as T from "./texts.js";

const MANY_CAMERAS = 12;
const MANY_CHIPS = 4;
const LAST_MINUTE = 59.999; // the input counts in minutes: the whole last one
const CROSS = "m7 7 10 10M17 7 7 17";

export const NONE = { cameras: [], modality: "", people: "", from: null, to: null };

export const isNarrow = ({ cameras, modality, people, from, to }) =>
  cameras.length > 0 || modality !== "" || people !== "" || from !== null || to !== null;

export class Filters {
  constructor() {
    $("filters").addEventListener("input", () => this.changed());
    $("clear-filters").addEventListener("click", () => {
      this.put(NONE);
      $("filters").querySelector("summary").focus();
    });
    $("camera-search").addEventListener("input", () => this.narrow());
  }

  /** Offer what the index holds. */
  fill(info) {
    const cameras = info.cameras.filter((camera) => camera.camid >= 0);
    $("camera-field").hidden = cameras.length < 2;
    $("camera-search").hidden = cameras.length <= MANY_CAMERAS;
    const named = cameras.some((camera) => camera.name);
    this.names = new Map(cameras.map((camera) => [camera.camid, camera.name]));
    $("cameras").replaceChildren(...cameras.map((camera) => h("label", { class: "chip", "data-camera": `${camera.camid} ${camera.name ?? ""}`.toLowerCase() },
      h("input", { type: "checkbox", name: "camera", value: camera.camid, "aria-label": T.cameraChip(camera) }),
      h("span", { "aria-hidden": "true" }, h("b", {}, T.cameraShort(camera, named)), h("small", {}, count(camera.count))))));
    $("identity-field").hidden = info.identities === 0;
    $("time-field").hidden = info.time_range === null;
    if (info.time_range !== null) {
      for (const id of ["time-from", "time-to"]) {
        $(id).min = toLocalInput(info.time_range.first - 60);
        $(id).max = toLocalInput(info.time_range.last + 60);
      }
    }
    this.changed();
  }

  read() {
    const to = fromLocalInput($("time-to").value);
    return {
      cameras: [...document.querySelectorAll("input[name=camera]:checked")].map((box) => Number(box.value)),
      modality: chosen("result_modality"),
      people: $("people").value.trim(),
      from: fromLocalInput($("time-from").value),
      to: to === null ? null : to + LAST_MINUTE,
    };
  }

  put({ cameras, modality, people, from, to }) {
    for (const box of document.getElementsByName("camera")) box.checked = cameras.includes(Number(box.value));
    choose("result_modality", modality);
    $("people").value = people;
    $("time-from").value = toLocalInput(from);
    $("time-to").value = toLocalInput(to);
    $("camera-search").value = "";
    this.narrow();
    this.changed();
  }

  /** Whether they can be searched with; if not, the field in question is brought into sight. */
  valid() {
    const { from, to } = this.read();
    const wrong = from !== null && to !== null && from > to;
    $("time-problem").hidden = !wrong;
    $("time-problem").textContent = wrong ? T.TIMES_SWAPPED : "";
    if (wrong) {
      $("filters").open = true;
      $("time-from").focus({ preventScroll: true });
      $("time-field").scrollIntoView({ block: "center" });
    }
    return !wrong;
  }

  changed() {
    const { cameras, modality, people, from, to } = this.read();
    const active = (cameras.length > 0) + (modality !== "") + (people !== "") + (from !== null || to !== null);
    $("filter-count").hidden = active === 0;
    $("filter-count").textContent = T.activeFilters(active);
    $("clear-filters").hidden = active === 0;
    $("time-problem").hidden = true;
  }

  narrow() {
    const wanted = $("camera-search").value.trim().toLowerCase();
    for (const chip of $("cameras").children) {
      chip.hidden = !chip.dataset.camera.split(" ").some((word) => word.startsWith(wanted)) && !chip.dataset.camera.includes(wanted);
    }
  }

  /** Buttons that search without one of a search's filters: onSearch(filters). */
  chips(filters, onSearch) {
    const chip = (text, less) => h("button", {
      class: "filter-chip", type: "button", "aria-label": T.without(text), onclick: () => onSearch({ ...filters, ...less }),
    }, h("span", {}, text), icon(CROSS));
    const { cameras, modality, people, from, to } = filters;
    const chips = [];
    if (modality) chips.push(chip(T.sensorOnly(modality), { modality: "" }));
    if (cameras.length > MANY_CHIPS) chips.push(chip(T.someCameras(cameras.length), { cameras: [] }));
    else chips.push(...cameras.map((camid) => chip(T.cameraName({ camid, camera: this.names.get(camid) }), { cameras: cameras.filter((other) => other !== camid) })));
    if (people) chips.push(chip(T.identityFilter(people), { people: "" }));
    if (from !== null || to !== null) chips.push(chip(T.timeFilter(from, to), { from: null, to: null }));
    return chips;
  }
}
