// Query and result side by side, with all that is known of the result.

import { galleryImage, meter } from "./cards.js";
import { $, cameraName, count, gap, h, personName, plural, sensorName, strangers, timeFull } from "./dom.js";
import { getSightings, imageUrl } from "./server.js";
import { drawStrip } from "./strip.js";

export class Detail {
  /** onAgain(hit): search with it. onFailure(failure): a token is needed again. */
  constructor({ onAgain, onFailure }) {
    this.dialog = $("detail");
    this.onAgain = onAgain;
    this.onFailure = onFailure;
    $("close").addEventListener("click", () => this.dialog.close());
    $("previous").addEventListener("click", () => this.step(-1));
    $("next").addEventListener("click", () => this.step(1));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
    this.dialog.addEventListener("close", () => this.returnFocus());
  }

  /** hits in the order shown; query: {url or row_id, modality, …}. */
  open(hits, hit, query) {
    this.hits = hits;
    this.query = query;
    this.show(hits.findIndex((other) => other.row_id === hit.row_id));
    if (!this.dialog.open) this.dialog.showModal();
    $("detail-title").focus();
  }

  step(by) {
    const to = this.at + by;
    if (to < 0 || to >= this.hits.length) return;
    this.show(to);
  }

  show(at) {
    this.at = at;
    const hit = this.hits[at];
    $("detail-title").textContent = `Result ${hit.rank} of ${count(this.hits.length)}`;
    $("previous").disabled = at === 0;
    $("next").disabled = at === this.hits.length - 1;
    const strip = h("div", { class: "panel strip", hidden: true });
    $("detail-body").replaceChildren(
      h("div", { class: "pair" },
        h("figure", {}, this.queryImage(), h("figcaption", {}, h("b", {}, "Searched for"), this.queryText())),
        h("figure", {}, galleryImage(hit, "full", `Result ${hit.rank}: ${cameraName(hit.camid)}`),
          h("figcaption", {}, h("b", {}, "Found"), h("span", {}, h("i", { class: `dot ${hit.modality}` }), sensorName(hit.modality), ", ", cameraName(hit.camid)))),
        this.facts(hit)),
      strip);
    this.loadSightings(hit, strip);
  }

  queryImage() {
    if (this.query.row_id) return galleryImage(this.query, "full", "Searched for");
    return h("span", { class: "image loaded" }, h("img", { src: this.query.url, alt: "Searched for: your image" }));
  }

  queryText() {
    const words = this.query.row_id ? `, ${cameraName(this.query.camid)}` : ", your image";
    return h("span", {}, h("i", { class: `dot ${this.query.modality}` }), sensorName(this.query.modality), words);
  }

  facts(hit) {
    const apart = this.query.time !== null && this.query.time !== undefined && hit.time !== null;
    const row = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
    return h("div", { class: "facts-panel" },
      h("div", { class: "big-meter" }, h("span", { class: "hint" }, "Similarity"), meter(hit)),
      strangers(hit) ? h("p", { class: "strangers" }, `${strangers(hit)}.`) : null,
      h("dl", {},
        row("Camera", hit.camid < 0 ? "Not recorded" : String(hit.camid)),
        row("Time", hit.time === null ? "Not recorded" : timeFull(hit.time)),
        apart ? row("To the query", gap(hit.time - this.query.time)) : [],
        row("Identity", hit.pid < 0 ? "Not recorded" : personName(hit.pid)),
        row("File", hit.name)),
      h("p", { class: "caution" }, "A similarity is a hint, not a proof. Compare the images yourself before you act on it."),
      h("div", { class: "facts-buttons" },
        h("button", { class: "button primary", type: "button", onclick: () => this.again(hit) }, "Search with this one"),
        h("a", { class: "button", href: imageUrl(hit.row_id, "full"), target: "_blank", rel: "noopener" }, "Open image")));
  }

  async loadSightings(hit, strip) {
    this.pending?.abort();
    this.pending = new AbortController();
    const { signal } = this.pending;
    try {
      const answer = await getSightings(hit.row_id, signal);
      if (signal.aborted || answer.sightings.length < 2) return;
      const known = answer.basis === "identity";
      drawStrip(strip, answer.sightings, {
        title: known ? `${personName(answer.pid)}: where and when` : "Images that look like this one",
        note: known ? "" : `${plural(answer.sightings.length, "image", "images")} by similarity alone; nobody has confirmed that they show one person`,
        current: hit.row_id, width: this.dialog.clientWidth - 82,
      });
    } catch (failure) {
      if (failure.name === "AbortError") return;
      if (failure.status === 401) this.onFailure(failure);
      else {
        strip.replaceChildren(h("p", { class: "hint" }, failure.message));
        strip.hidden = false;
      }
    }
  }

  again(hit) {
    this.dialog.close();
    this.onAgain(hit);
  }

  returnFocus() {
    this.pending?.abort();
    const hit = this.hits[this.at];
    document.querySelector(`.card[data-row="${hit.row_id}"]`)?.focus();
  }
}
