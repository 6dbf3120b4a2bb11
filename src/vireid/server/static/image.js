// The image that is searched with: chosen, dropped or pasted; checked here as far as a page can.

import { $, bytes, count } from "./dom.js";

const GREY = 5; // mean spread of the colour channels, in grey levels, below which an image has no colour

export class QueryImage {
  constructor({ onChange }) {
    this.file = null;
    this.url = null;
    this.limits = null;
    this.chosen = false;
    this.onChange = onChange;
    $("file").addEventListener("change", () => {
      const [file] = $("file").files;
      this.take(file);
    });
    $("file").addEventListener("click", () => { $("file").value = ""; }); // the same file may be chosen again
    $("remove").addEventListener("click", () => this.remove());
    for (const radio of document.getElementsByName("modality")) {
      radio.addEventListener("change", () => {
        this.chosen = true;
        this.hint("");
      });
    }
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files][0];
      if (file) this.take(file);
    });
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
      this.take(event.dataTransfer.files[0]);
    });
  }

  get modality() {
    return document.querySelector("input[name=modality]:checked").value;
  }

  async take(file) {
    if (!file) return;
    const url = URL.createObjectURL(file);
    const problem = await this.problemOf(file, url);
    if (problem) {
      URL.revokeObjectURL(url);
      this.complain(problem);
      return;
    }
    this.complain("");
    this.file = file;
    this.url = url; // kept for as long as the page: earlier answers still show it
    $("drop-empty").hidden = true;
    $("drop-full").hidden = false;
    $("file-name").textContent = file.name || "Pasted image";
    $("file-size").textContent = `${count($("preview").naturalWidth)} × ${count($("preview").naturalHeight)}, ${bytes(file.size)}`;
    if (!this.chosen) this.guess();
    this.onChange();
  }

  /** A sentence if the file can't be searched with, else "". */
  async problemOf(file, url) {
    if (file.size === 0) return "The file is empty; choose an image.";
    if (this.limits && file.size > this.limits.upload_bytes) {
      return `The file has ${bytes(file.size)}; at most ${bytes(this.limits.upload_bytes)} are allowed. Crop the person or make the image smaller.`;
    }
    const preview = $("preview");
    preview.src = url;
    try {
      await preview.decode();
    } catch {
      preview.src = this.url ?? "";
      return "The file is not an image that can be read. JPEG, PNG, WebP and BMP are.";
    }
    const pixels = preview.naturalWidth * preview.naturalHeight;
    if (this.limits && pixels > this.limits.pixels) {
      preview.src = this.url ?? "";
      return `The image has ${count(Math.round(pixels / 1e6))} million pixels; at most ${count(this.limits.pixels / 1e6)} million are allowed. Crop the person first.`;
    }
    return "";
  }

  /** Without colour it is most likely infrared; the user has the last word. */
  guess() {
    const canvas = document.createElement("canvas");
    canvas.width = 24;
    canvas.height = 48;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage($("preview"), 0, 0, 24, 48);
    const { data } = pen.getImageData(0, 0, 24, 48);
    let spread = 0;
    for (let i = 0; i < data.length; i += 4) {
      spread += Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]);
    }
    const grey = spread / (data.length / 4) < GREY;
    document.querySelector(`input[name=modality][value=${grey ? "infrared" : "visible"}]`).checked = true;
    this.hint(grey ? "It has no colour, so it is taken for infrared. Change it if that is wrong."
      : "It has colour, so it is taken for visible. Change it if that is wrong.");
  }

  remove() {
    this.file = null;
    $("file").value = "";
    $("drop-empty").hidden = false;
    $("drop-full").hidden = true;
    this.complain("");
    this.hint("");
    this.onChange();
    $("file").focus();
  }

  complain(sentence) {
    $("file-problem").textContent = sentence;
    $("file-problem").hidden = !sentence;
    $("drop").classList.toggle("refused", Boolean(sentence));
  }

  hint(text) {
    $("modality-hint").textContent = text || "Night cameras are infrared: their images have no colour.";
  }
}
