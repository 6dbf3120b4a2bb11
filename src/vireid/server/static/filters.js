// The filters of the form: sensor, cameras, time.

import { $, count, fromLocalInput, h, toLocalInput } from "./dom.js";

const MANY_CAMERAS = 12;

export class Filters {
  constructor() {
    $("filters").addEventListener("input", () => this.changed());
    $("clear-filters").addEventListener("click", () => this.clear());
    $("camera-search").addEventListener("input", () => this.narrow());
  }

  /** Offer what the index holds. */
  fill(info) {
    const cameras = info.cameras.filter((camera) => camera.camid >= 0);
    $("camera-field").hidden = cameras.length < 2;
    $("camera-search").hidden = cameras.length <= MANY_CAMERAS;
    $("cameras").replaceChildren(...cameras.map((camera) => h("label", { class: "chip", "data-camera": camera.camid },
      h("input", { type: "checkbox", name: "camera", value: camera.camid, "aria-label": `Camera ${camera.camid}, ${count(camera.count)} images` }),
      h("span", { "aria-hidden": "true" }, String(camera.camid), h("small", {}, count(camera.count))))));
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
    const cameras = [...document.querySelectorAll("input[name=camera]:checked")].map((box) => Number(box.value));
    const to = fromLocalInput($("time-to").value);
    return {
      cameras,
      modality: document.querySelector("input[name=result_modality]:checked").value,
      from: fromLocalInput($("time-from").value),
      to: to === null ? null : to + 59.999, // the input counts in minutes: the whole last one
    };
  }

  get active() {
    const { cameras, modality, from, to } = this.read();
    return (cameras.length > 0) + (modality !== "") + (from !== null || to !== null);
  }

  valid() {
    const { from, to } = this.read();
    const wrong = from !== null && to !== null && from > to;
    $("time-problem").hidden = !wrong;
    $("time-problem").textContent = wrong ? "The first time is after the last one." : "";
    if (wrong) {
      $("filters").open = true;
      $("time-from").focus();
    }
    return !wrong;
  }

  changed() {
    const { active } = this;
    $("filter-count").hidden = active === 0;
    $("filter-count").textContent = `${active} ${active === 1 ? "filter" : "filters"}`;
    $("clear-filters").hidden = active === 0;
    $("time-problem").hidden = true;
  }

  clear() {
    for (const box of document.querySelectorAll("input[name=camera]:checked")) box.checked = false;
    document.querySelector("input[name=result_modality][value='']").checked = true;
    $("time-from").value = "";
    $("time-to").value = "";
    $("camera-search").value = "";
    this.narrow();
    this.changed();
    $("filters").querySelector("summary").focus();
  }

  narrow() {
    const wanted = $("camera-search").value.trim();
    for (const chip of $("cameras").children) chip.hidden = !chip.dataset.camera.startsWith(wanted);
  }
}
