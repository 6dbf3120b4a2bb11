// Query and result side by side, with all that is known of the result.

import { galleryImage, meter } from "./cards.js";
import { $, h } from "./dom.js";
import { timeFull } from "./format.js";
import { getSightings, imageUrl } from "./server.js";
import { drawStrip } from "./strip.js";
import * as T from "./texts.js";

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

  /** hits in the order shown; query: {images or row_id, modality, …}. */
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
    $("detail-title").textContent = T.resultOf(hit.rank, this.hits.length);
    $("previous").disabled = at === 0;
    $("next").disabled = at === this.hits.length - 1;
    const strip = h("details", { class: "panel strip", open: true, hidden: true });
    $("detail-body").replaceChildren(
      h("div", { class: "pair" },
        h("figure", {}, this.queryImage(), h("figcaption", {}, h("b", {}, T.SEARCHED_FOR), this.queryText())),
        h("figure", {}, galleryImage(hit, "full", T.resultAlt(hit)),
          h("figcaption", {}, h("b", {}, T.FOUND), h("span", {}, h("i", { class: `dot ${hit.modality}` }), T.sensorName(hit.modality), ", ", T.cameraName(hit)))),
        this.facts(hit)),
      strip);
    this.loadSightings(hit, strip);
  }

  queryImage() {
    if (this.query.row_id) return galleryImage(this.query, "full", T.SEARCHED_FOR);
    return h("span", { class: "image loaded" }, h("img", { src: this.query.images[0].shown, alt: T.SEARCHED_ALT }));
  }

  queryText() {
    const words = this.query.row_id ? `, ${T.cameraName(this.query)}` : T.yourImages(this.query.images.length);
    return h("span", {}, h("i", { class: `dot ${this.query.modality}` }), T.sensorName(this.query.modality), words);
  }

  facts(hit) {
    const apart = this.query.time !== null && this.query.time !== undefined && hit.time !== null;
    const row = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
    return h("div", { class: "facts-panel" },
      h("div", { class: "big-meter" }, h("span", { class: "hint" }, T.FACTS.similarity), meter(hit)),
      h("p", { class: "strangers" }, `${T.strangers(hit) ?? T.TOO_FEW}.`),
      h("dl", {},
        row(T.FACTS.camera, hit.camid < 0 ? T.UNKNOWN : T.cameraFull(hit)),
        row(T.FACTS.time, hit.time === null ? T.UNKNOWN : timeFull(hit.time)),
        apart ? row(T.FACTS.apart, T.gap(hit.time - this.query.time)) : [],
        row(T.FACTS.identity, hit.pid === null ? T.UNKNOWN : T.personName(hit.pid)),
        row(T.FACTS.file, hit.name)),
      h("p", { class: "caution" }, T.CAUTION),
      h("div", { class: "facts-buttons" },
        h("button", { class: "button primary", type: "button", onclick: () => this.again(hit) }, T.AGAIN),
        h("a", { class: "button", href: imageUrl(hit.row_id, "full"), target: "_blank", rel: "noopener" }, T.OPEN_IMAGE)));
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
        title: known ? T.sightingsOf(answer.pid) : T.LOOK_ALIKE,
        note: known ? "" : T.unconfirmed(answer.sightings.length),
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
