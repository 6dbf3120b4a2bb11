// The images that are searched with: chosen, dropped or pasted; checked here as far as a page can.

import { newId } from "./address.js";
import { BoxDialog } from "./box.js";
import { $, choose, chosen, h } from "./dom.js";
import * as T from "./texts.js";

/** A JPEG file without its orientation tag: browsers would turn the image, a server that searches
 * images as they are stored would not, and boxes would be of another image. */
async function withoutTag(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return file;
  const parts = [bytes.subarray(0, 2)];
  let at = 2;
  while (bytes[at] === 0xff && bytes[at + 1] !== 0xda) { // segments, up to the pixels
    const end = at + 2 + (bytes[at + 2] << 8) + bytes[at + 3];
    if (bytes[at + 1] !== 0xe1) parts.push(bytes.subarray(at, end));
    at = end;
  }
  return new File([...parts, bytes.subarray(at)], file.name, { type: file.type });
}

export class QueryImages {
  constructor({ onChange }) {
    this.images = []; // {id, file, url, width, height, box, decided, shown}
    this.known = new Promise((resolve) => { this.know = resolve; }); // what the server allows
    this.told = false; // whether the user has said what sensor took them
    this.adds = false;
    this.onChange = onChange;
    this.dialog = new BoxDialog();
    $("file").addEventListener("change", () => this.take([...$("file").files], this.adds));
    $("file").addEventListener("click", () => { $("file").value = ""; }); // the same file may be chosen again
    for (const [id, adds] of [["replace", false], ["add", true]]) {
      $(id).addEventListener("click", () => {
        this.adds = adds;
        $("file").click();
      });
    }
    $("drop-empty").addEventListener("click", () => { this.adds = false; });
    for (const radio of document.getElementsByName("modality")) {
      radio.addEventListener("change", () => {
        this.told = true;
        this.hint("");
      });
    }
    document.addEventListener("paste", (event) => this.take([...event.clipboardData.files]));
    // The whole page takes a drop, so that a near miss doesn't make the browser leave the page.
    for (const name of ["dragenter", "dragover"]) {
      document.addEventListener(name, (event) => {
        event.preventDefault();
        $("drop").classList.add("over");
      });
    }
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) $("drop").classList.remove("over");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      $("drop").classList.remove("over");
      this.take([...event.dataTransfer.files]);
    });
  }

  /** What the server takes: its limits, and whether it turns images as their tags say. */
  allow({ limits, orientation }) {
    this.limits = limits;
    this.upright = orientation === "upright";
    this.know();
  }

  get modality() {
    return chosen("modality");
  }

  /** Take files as images of one person, beside those that are there or instead of them. */
  async take(files, adds = false) {
    if (!files.length) return;
    await this.known; // a file may be chosen before the server has said it
    const kept = adds ? this.images : [];
    const taken = [];
    let problem = kept.length + files.length > this.limits.images ? T.tooManyImages(this.limits.images) : "";
    for (const file of files) {
      if (problem) break;
      const own = this.upright ? file : await withoutTag(file);
      const image = { id: newId(), file: own, url: URL.createObjectURL(own), box: null };
      problem = await this.problemOf(image, [...kept, ...taken]);
      taken.push(image);
    }
    this.complain(problem);
    if (problem) {
      for (const image of taken) URL.revokeObjectURL(image.url);
      return;
    }
    this.show([...kept, ...taken]);
    if (!adds) await this.guess();
    await this.decide();
  }

  /** The images of an earlier search again; their boxes are known. */
  async put(images, modality) {
    const kept = [];
    for (const { id, file, box } of images) {
      const image = this.images.find((one) => one.id === id) ?? { id, file, url: URL.createObjectURL(file) };
      if (!(await this.problemOf(image, kept))) kept.push({ ...image, box, decided: true, shown: await this.cut(image, box) });
    }
    choose("modality", modality);
    this.complain("");
    this.show(kept);
    return this.images;
  }

  /** A sentence if the file can't be searched with beside others, else "". */
  async problemOf(image, others) {
    const { limits } = this;
    if (image.file.size === 0) return T.EMPTY_FILE;
    const size = [image, ...others].reduce((sum, one) => sum + one.file.size, 0);
    if (size > limits.upload_bytes) return T.tooManyBytes(size, limits.upload_bytes);
    const probe = $("probe");
    probe.src = image.url;
    try {
      await probe.decode();
    } catch {
      return T.NO_IMAGE;
    }
    [image.width, image.height] = [probe.naturalWidth, probe.naturalHeight];
    const pixels = [image, ...others].reduce((sum, one) => sum + one.width * one.height, 0);
    if (pixels > limits.pixels) return T.tooManyPixels(pixels, limits.pixels);
    const [least, most] = limits.person_shape;
    const shape = image.height / image.width;
    image.decided = least <= shape && shape <= most;
    image.shown = image.url;
    return "";
  }

  /** Have a box drawn in each image that isn't shaped like a person. False if one has none yet. */
  async decide() {
    for (const image of this.images) {
      if (!image.decided && !(await this.draw(image))) return false;
    }
    return true;
  }

  async draw(image) {
    const answer = await this.dialog.ask(image.url, image.box);
    if (answer) {
      const shown = await this.cut(image, answer.box);
      this.show(this.images.map((one) => (one.id === image.id ? { ...one, box: answer.box, decided: true, shown } : one)));
      await this.guess();
    }
    return answer;
  }

  /** What is searched with of an image, for people to see: its address. */
  async cut({ url }, box) {
    if (!box) return url;
    const probe = $("probe");
    probe.src = url;
    await probe.decode();
    const canvas = document.createElement("canvas");
    canvas.width = box.width;
    canvas.height = box.height;
    canvas.getContext("2d").drawImage(probe, box.x, box.y, box.width, box.height, 0, 0, box.width, box.height);
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve); });
    return URL.createObjectURL(blob);
  }

  show(images) {
    this.images = images;
    $("drop-empty").hidden = $("file").hidden = images.length > 0; // "Change" opens it then
    $("drop-full").hidden = images.length === 0;
    $("add").hidden = images.length >= this.limits.images;
    $("images").replaceChildren(...images.map((image) => {
      const name = image.file.name || T.PASTED;
      const facts = image.decided ? (image.box ? T.boxFacts(image.box) : T.imageFacts(image.width, image.height, image.file.size)) : T.NEEDS_BOX;
      return h("li", {},
        h("img", { src: image.shown, alt: T.ownAlt(name) }),
        h("div", { class: "drop-facts" },
          h("span", { class: "file-name", title: name }, name),
          h("span", { class: image.decided ? "hint" : "hint needed" }, facts),
          h("div", { class: "drop-buttons" },
            h("button", { class: "button small", type: "button", "aria-label": T.boxOf(name), onclick: () => this.draw(image) }, T.BOX),
            h("button", { class: "button small", type: "button", "aria-label": T.removeOf(name), onclick: () => this.remove(image) }, T.REMOVE))));
    }));
    this.onChange();
  }

  remove(image) {
    this.show(this.images.filter((one) => one !== image));
    this.complain("");
    if (this.images.length) $("add").focus();
    else {
      this.hint("");
      $("file").focus();
    }
  }

  /** Without colour it is most likely infrared; the user has the last word. */
  async guess() {
    if (this.told) return;
    const probe = $("probe");
    probe.src = this.images[0].shown;
    await probe.decode();
    const canvas = document.createElement("canvas");
    canvas.width = 24;
    canvas.height = 48;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(probe, 0, 0, 24, 48);
    const { data } = pen.getImageData(0, 0, 24, 48);
    let spread = 0;
    for (let i = 0; i < data.length; i += 4) {
      spread += Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]);
    }
    const grey = spread / (data.length / 4) < this.limits.grey;
    choose("modality", grey ? "infrared" : "visible");
    this.hint(grey ? T.LOOKS_INFRARED : T.LOOKS_VISIBLE);
  }

  complain(sentence) {
    $("file-problem").textContent = sentence;
    $("file-problem").hidden = !sentence;
    $("drop").classList.toggle("refused", Boolean(sentence));
  }

  hint(text) {
    $("modality-hint").textContent = text || T.NIGHT;
  }
}
