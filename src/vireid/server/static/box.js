// The dialog in which a box is drawn around the person: by mouse, by touch, by keyboard.

import { $ } from "./dom.js";

const SMALLEST = 16; // pixels, as the server asks for

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

/** A box as the server and the address write it. */
export const boxText = (box) => (box ? [box.x, box.y, box.width, box.height].join(",") : "whole");

export function readBox(text) {
  const [x, y, width, height] = (text ?? "").split(",").map(Number);
  return Number.isInteger(height) ? { x, y, width, height } : null;
}

export class BoxDialog {
  constructor() {
    this.dialog = $("box-dialog");
    this.stage = $("box-stage");
    this.image = $("box-image");
    this.button = $("box");
    this.inputs = ["x", "y", "width", "height"].map((name) => [name, $(`box-${name}`)]);
    this.stage.addEventListener("pointerdown", (event) => this.press(event));
    this.stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) this.stage.addEventListener(name, () => { this.held = null; });
    this.button.addEventListener("keydown", (event) => this.key(event));
    for (const [name, input] of this.inputs) {
      input.addEventListener("change", () => this.set({ ...this.box, [name]: Math.round(Number(input.value)) || 0 }));
    }
    $("box-form").addEventListener("submit", (event) => { event.preventDefault(); this.close({ box: this.box }); });
    $("box-whole").addEventListener("click", () => this.close({ box: null }));
    $("box-cancel").addEventListener("click", () => this.close(null));
    this.dialog.addEventListener("cancel", (event) => { event.preventDefault(); this.close(null); });
  }

  /** Ask for the box of an image: {box}, of which null is the whole image; or null if nothing was chosen. */
  async ask(url, box) {
    this.image.src = url;
    await this.image.decode();
    this.dialog.showModal();
    const { naturalWidth: width, naturalHeight: height } = this.image;
    const high = Math.round(Math.min(height * 0.8, width * 1.6));
    const wide = Math.round(high / 2);
    this.set(box ?? { x: Math.round((width - wide) / 2), y: Math.round((height - high) / 2), width: wide, height: high });
    this.button.focus();
    return new Promise((resolve) => { this.resolve = resolve; });
  }

  close(answer) {
    this.dialog.close();
    this.resolve?.(answer);
    this.resolve = null;
  }

  /** Take a box, brought within the image. */
  set(box) {
    const { naturalWidth, naturalHeight } = this.image;
    const width = clamp(box.width, Math.min(SMALLEST, naturalWidth), naturalWidth);
    const height = clamp(box.height, Math.min(SMALLEST, naturalHeight), naturalHeight);
    this.box = { x: clamp(box.x, 0, naturalWidth - width), y: clamp(box.y, 0, naturalHeight - height), width, height };
    const percent = (value, of) => `${(value / of) * 100}%`;
    Object.assign(this.button.style, {
      left: percent(this.box.x, naturalWidth), top: percent(this.box.y, naturalHeight),
      width: percent(width, naturalWidth), height: percent(height, naturalHeight),
    });
    for (const [name, input] of this.inputs) input.value = this.box[name];
  }

  /** Where a pointer is, in pixels of the image. */
  at(event) {
    const shown = this.image.getBoundingClientRect();
    return {
      x: clamp(((event.clientX - shown.left) / shown.width) * this.image.naturalWidth, 0, this.image.naturalWidth),
      y: clamp(((event.clientY - shown.top) / shown.height) * this.image.naturalHeight, 0, this.image.naturalHeight),
    };
  }

  press(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.button.focus();
    this.stage.setPointerCapture(event.pointerId);
    const at = this.at(event);
    const { x, y, width, height } = this.box;
    const corner = event.target.dataset?.corner;
    if (corner) { // the opposite corner stays
      this.held = { from: { x: corner.includes("w") ? x + width : x, y: corner.includes("n") ? y + height : y } };
    } else if (event.target === this.button) {
      this.held = { grip: { x: at.x - x, y: at.y - y } };
    } else {
      this.held = { from: at };
    }
  }

  drag(event) {
    if (!this.held) return;
    const at = this.at(event);
    const { grip, from } = this.held;
    if (grip) {
      this.set({ ...this.box, x: Math.round(at.x - grip.x), y: Math.round(at.y - grip.y) });
      return;
    }
    if (Math.abs(at.x - from.x) < 2 && Math.abs(at.y - from.y) < 2) return; // a click draws nothing
    this.set({
      x: Math.round(Math.min(at.x, from.x)), y: Math.round(Math.min(at.y, from.y)),
      width: Math.round(Math.abs(at.x - from.x)), height: Math.round(Math.abs(at.y - from.y)),
    });
  }

  key(event) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === "Enter") this.close({ box: this.box });
    if (!dx && !dy) return;
    event.preventDefault();
    const step = Math.max(1, Math.round(this.image.naturalHeight / 100));
    const { x, y, width, height } = this.box;
    this.set(event.shiftKey ? { x, y, width: width + dx * step, height: height + dy * step }
      : { x: x + dx * step, y: y + dy * step, width, height });
  }
}
