// The timeline: lanes of bars and marks over an axis, drawn as far as they are seen.
//
// Invariant: what is drawn depends on lanes, axis, scale, place and selection, and on nothing that
// was drawn before.

"use strict";

const ROW = 26;
const BAR = 18;
const LANE_PADDING = 4;
const AXIS_HEIGHT = 30;
/** Left of the first event. */
const MARGIN = 18;
/** Right of the last one, for what is written beside it. */
const END = 90;
const MARK = 5;

const measuring = document.createElement("canvas").getContext("2d");
measuring.font = "11.5px system-ui, sans-serif";
const widths = new Map();

function widthOf(text) {
  if (!widths.has(text)) {
    if (widths.size > 20_000) widths.clear();
    widths.set(text, measuring.measureText(text).width);
  }
  return widths.get(text);
}

/** The text, or its beginning, within so many pixels; "" if that would say nothing. */
function fitted(text, pixels) {
  const whole = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  if (widthOf(whole) <= pixels) return whole;
  if (pixels < 24) return "";
  let [low, high] = [0, whole.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (widthOf(`${whole.slice(0, middle)}…`) <= pixels) low = middle;
    else high = middle - 1;
  }
  return low < 2 ? "" : `${whole.slice(0, low).trimEnd()}…`;
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Stripes, for what waits and for a network that is away. */
function patterns() {
  const stripes = (id) => svg("pattern", {
    id, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  }, svg("rect", { width: 7, height: 7, class: `${id}-ground` }),
    svg("rect", { width: 3, height: 7, class: `${id}-stripe` }));
  return svg("defs", {}, stripes("waiting"), stripes("away"));
}

class Chart {
  #labels;
  #scroller;
  #space;
  #drawing;
  #queued = false;
  #paper;
  #lanes = [];
  #away = [];

  constructor(element, { onSelect, onPoint }) {
    this.element = element;
    this.#labels = element.querySelector(".labels");
    this.#scroller = element.querySelector(".scroller");
    this.#space = element.querySelector(".space");
    this.#drawing = element.querySelector(".drawing");
    this.selected = null;
    this.#scroller.addEventListener("scroll", () => this.queue());
    new ResizeObserver(() => this.resize()).observe(this.#scroller);
    this.#listen(onSelect, onPoint);
  }

  /** Shows lanes over an axis. The scale stays if the axis is the same one. */
  show(lanes, axis) {
    const isNew = axis !== this.axis;
    this.axis = axis;
    this.lanes = lanes;
    if (isNew) {
      this.scale = axis.first(this.#room());
      this.fits = this.scale === axis.fit(this.#room());
      this.#scroller.scrollLeft = 0;
    }
    this.#layOut();
    this.draw();
  }

  /** So many times larger, with what is at `x` staying there. */
  zoom(factor, x = this.#seen / 2) {
    const position = this.#positionAt(x);
    const fit = this.axis.fit(this.#room());
    const widest = Math.max(fit, this.axis.widest);
    this.scale = Math.min(widest, Math.max(fit, this.scale * factor));
    this.fits = this.scale === fit;
    this.#layOut();
    this.#scroller.scrollLeft = MARGIN + position * this.scale - x;
    this.draw();
  }

  fit() {
    this.zoom(0);
  }

  resize() {
    if (this.axis === undefined) return;
    if (this.fits) this.scale = this.axis.fit(this.#room());
    this.#layOut();
    this.draw();
  }

  /** Marks an event, and moves until it is seen. */
  select(event) {
    this.selected = event;
    if (event !== null) {
      const x = this.#x(this.axis.at(event.index));
      const { scrollLeft, clientWidth } = this.#scroller;
      if (x < scrollLeft + 30 || x > scrollLeft + clientWidth - 60) {
        this.#scroller.scrollLeft = x - clientWidth / 2;
      }
    }
    this.draw();
  }

  /** Draws with the next frame, once. */
  queue() {
    if (this.#queued) return;
    this.#queued = true;
    requestAnimationFrame(() => this.draw());
  }

  /** All of it, on so many pixels of paper; without an argument, on the screen again. */
  print(pixels) {
    this.#paper = pixels;
    this.fit();
  }

  /** Pixels that are seen at once. */
  get #seen() {
    return this.#paper ?? this.#scroller.clientWidth;
  }

  #room() {
    return Math.max(200, this.#seen - MARGIN - END);
  }

  #x(position) {
    return MARGIN + position * this.scale;
  }

  #width() {
    return Math.floor(this.#x(this.axis.length) + END);
  }

  #positionAt(x) {
    return (this.#scroller.scrollLeft + x - MARGIN) / this.scale;
  }

  // --- where everything is ---

  #layOut() {
    let top = AXIS_HEIGHT;
    this.#lanes = this.lanes.map((lane) => {
      const { items, rows } = this.#placed(lane);
      const height = rows * ROW + 2 * LANE_PADDING;
      const placed = { lane, items, top, height };
      top += height;
      return placed;
    });
    this.height = top + 4;
    const network = this.#lanes.find(({ lane }) => lane.group === "network");
    this.#away = network?.items.filter(({ item }) => item.look === "offline") ?? [];
    const width = this.#width();
    this.#space.style.width = `${Math.max(width, 1)}px`;
    this.#space.style.height = `${this.height}px`;
    this.#labels.replaceChildren(...this.#lanes.map(({ lane, top, height }) => {
      const label = document.createElement("div");
      label.className = `label group-${lane.group}`;
      label.style.top = `${top}px`;
      label.style.height = `${height}px`;
      const title = document.createElement("b");
      title.textContent = lane.title;
      const subtitle = document.createElement("small");
      subtitle.textContent = lane.subtitle;
      label.title = [lane.title, lane.subtitle].filter(Boolean).join(", ");
      label.append(title, subtitle);
      return label;
    }));
    this.#labels.style.height = `${this.height}px`;
  }

  /** The items of a lane with their places. What would lie upon another takes the next row. */
  #placed(lane) {
    const ends = [];
    const items = [];
    for (const item of lane.items) {
      const right = item.to === null ? this.#width() : this.#x(this.axis.at(item.to));
      const start = item.startMs === undefined ? this.axis.at(item.from)
        : Math.min(this.axis.time(item.startMs), this.axis.at(item.from));
      const left = this.#x(start);
      const isMark = right - left < 2 && item.to !== null;
      const previous = items.at(-1);
      if (isMark && previous?.isMark && left - previous.left < 3 && lane.rows === 1) {
        // The newest state covers the others of its time.
        previous.item = item;
        continue;
      }
      const wish = lane.rows > 1 ? Math.min(widthOf(item.label.slice(0, 60)), 190) + 14 : 0;
      let row = ends.findIndex((end) => end <= left - (isMark ? MARK : 0));
      if (row === -1) row = ends.length < lane.rows ? ends.length : ends.indexOf(Math.min(...ends));
      const same = items.findLast((each) => each.row === row);
      if (lane.rows > 1 && isMark && same?.isMark && left - same.left < 3) {
        same.count += 1;
        continue;
      }
      ends[row] = (isMark ? left + MARK : right) + wish;
      items.push({ item, left, right, row, isMark, count: 1 });
    }
    const nextInRow = [];
    for (const placed of items.toReversed()) {
      const next = nextInRow[placed.row];
      placed.free = next === undefined ? this.#width() : next.left - (next.isMark ? MARK : 0);
      nextInRow[placed.row] = placed;
    }
    return { items, rows: Math.max(1, ends.length) };
  }

  // --- drawing ---

  draw() {
    this.#queued = false;
    if (this.axis === undefined) return;
    const { scrollLeft } = this.#scroller;
    const width = this.#seen;
    const view = { left: scrollLeft, right: scrollLeft + width, width };
    this.#drawing.setAttribute("width", width);
    this.#drawing.setAttribute("height", this.height);
    this.#drawing.setAttribute("viewBox", `${scrollLeft} 0 ${width} ${this.height}`);
    const parts = [patterns(), ...this.#drawnGround(view), this.#drawnAxis(view)];
    for (const placed of this.#lanes) parts.push(this.#drawnLane(placed, view));
    if (this.selected !== null) {
      const x = this.#x(this.axis.at(this.selected.index));
      parts.push(this.#down("here", x));
    }
    this.#drawing.replaceChildren(...parts);
  }

  /** Lanes apart from each other, and the times without a network behind all of them. */
  *#drawnGround(view) {
    for (const { top } of this.#lanes) {
      yield svg("line", { class: "between", x1: view.left, x2: view.right, y1: top, y2: top });
    }
    for (const { left, right } of this.#away) {
      const [from, to] = [Math.max(left, view.left), Math.min(right, view.right)];
      if (to <= from) continue;
      yield svg("rect", {
        class: "away", x: from, y: AXIS_HEIGHT, width: to - from, height: this.height - AXIS_HEIGHT,
      });
    }
  }

  /** A line through all lanes. */
  #down(className, x) {
    return svg("line", { class: className, x1: x, x2: x, y1: AXIS_HEIGHT - 6, y2: this.height });
  }

  #drawnAxis(view) {
    const axis = svg("g", { class: "axis" });
    let free = -Infinity;
    const [from, to] = [this.#positionAt(-100), this.#positionAt(view.width + 100)];
    for (const { position, text, wait, waitFrom } of this.axis.ticks(this.scale, from, to)) {
      const x = this.#x(position);
      if (x > this.#width()) break;
      axis.append(this.#down("tick", x));
      const wide = widthOf(text) * 1.1;
      const start = Math.min(x - 3, this.#width() - wide - 4);
      if (start >= free) {
        axis.append(svg("text", { class: "time", x: start, y: 16 }, text));
        free = start + wide + 10;
      }
      if (wait === undefined) continue;
      const before = this.#x(waitFrom);
      if (x - before < 14) continue;
      const dots = `M${before + 4} ${AXIS_HEIGHT - 3} H${x - 4}`;
      axis.append(svg("path", { class: "wait", d: dots }));
      const label = fitted(`+${wait}`, x - before - 12);
      if (label === "" || label.endsWith("…")) continue;
      const middle = (before + x) / 2;
      axis.append(svg("text", { class: "wait-text", x: middle, y: AXIS_HEIGHT - 1 }, label));
    }
    return axis;
  }

  #drawnLane({ lane, items, top }, view) {
    const group = svg("g", { class: `lane group-${lane.group}` });
    for (const placed of items) {
      if (placed.right < view.left && placed.free < view.left) continue;
      if (placed.left > view.right) break;
      group.append(this.#drawnItem(placed, top + LANE_PADDING + placed.row * ROW, view));
    }
    return group;
  }

  #drawnItem({ item, left, right, isMark, count, free }, top, view) {
    const isSelected = item.event === this.selected ? " selected" : "";
    const group = svg("g", {
      class: `item look-${item.look}${isMark ? " mark" : " bar"}${isSelected}`,
      "data-event": item.event.index,
    });
    const middle = top + ROW / 2;
    const label = count > 1 && isMark ? `${item.label}  ×${count}` : item.label;
    if (isMark) {
      group.append(svg("circle", { class: "shape", cx: left, cy: middle, r: MARK }));
      const text = fitted(label, free - left - MARK - 8);
      group.append(svg("text", { class: "outside", x: left + MARK + 4, y: middle + 4 }, text));
      return group;
    }
    const [from, to] = [Math.max(left, view.left - 20), Math.min(right, view.right + 20)];
    const width = Math.max(2, to - from);
    group.append(svg("rect", {
      class: "shape", x: from, y: top + (ROW - BAR) / 2, width, height: BAR, rx: 4,
    }));
    // The label stays in sight while the bar moves on.
    const start = Math.max(left, view.left);
    const inside = fitted(label, Math.min(right, view.right) - start - 12);
    const isWhole = inside !== "" && !inside.endsWith("…");
    const text = isWhole ? inside : fitted(item.short, width - 8) || inside;
    if (item.startMs !== undefined && !isWhole) {
      const after = fitted(label, free - right - 10);
      group.append(svg("text", { class: "outside", x: right + 5, y: middle + 4 }, after));
    } else {
      group.append(svg("text", { class: "inside", x: start + 6, y: middle + 4 }, text));
    }
    return group;
  }

  // --- the pointer ---

  #listen(onSelect, onPoint) {
    const eventOf = (target) => {
      const index = target.closest?.("[data-event]")?.dataset.event;
      return index === undefined ? null : this.axis.events[index];
    };
    let dragged = null;
    this.#scroller.addEventListener("pointerdown", (pointer) => {
      if (pointer.button !== 0 || pointer.pointerType === "touch") return;
      dragged = { x: pointer.clientX, from: this.#scroller.scrollLeft, moved: false };
    });
    addEventListener("pointermove", (pointer) => {
      if (dragged === null) return onPoint(eventOf(pointer.target), pointer);
      const moved = pointer.clientX - dragged.x;
      if (Math.abs(moved) > 4) dragged.moved = true;
      if (dragged.moved) this.#scroller.scrollLeft = dragged.from - moved;
    });
    addEventListener("pointerup", () => setTimeout(() => dragged = null));
    this.#drawing.addEventListener("click", (click) => {
      const event = eventOf(click.target);
      if (!dragged?.moved && event !== null) onSelect(event);
    });
    this.#scroller.addEventListener("wheel", (wheel) => {
      if (!wheel.ctrlKey && !wheel.metaKey) return;
      wheel.preventDefault();
      const x = wheel.clientX - this.#scroller.getBoundingClientRect().left;
      this.zoom(Math.exp(-wheel.deltaY / 300), x);
    }, { passive: false });
  }
}
