/* Three widgets of the book without a kernel: the gates of one unit, the state flow of a cascade, the split of the clips.

   Every number is computed here, from data that book/tools/webpages.py writes beside this file
   (explorers-NAME.js). An explorer mounts itself in <div class="explorer" data-explorer="NAME">, which webpages.py
   puts below the widget's call; without scripts that stays empty and only the picture below it shows.
   tests/test_pages_scripts.py compares the numbers with those of the Python functions. */
"use strict";
(() => {
  // The numbers: the same arithmetic as ctxlstm/gates.py, models/context_lstm.py and ucf101.py.

  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const dot = (row, values) => row.reduce((total, weight, k) => total + weight * values[k], 0);
  const sigmoid = (z) => 1 / (1 + Math.exp(-z));
  const range = (n) => [...Array(n).keys()];

  /* One LSTM time step, Eqs. 12-17. w: {ih (4H, D), hh (4H, H), b (4H)}, rows in the order i, f, g, o. */
  function lstmStep(x, h, c, w) {
    const size = h.length;
    const z = w.b.map((b, row) => dot(w.ih[row], x) + dot(w.hh[row], h) + b);
    const gate = (k, squash) => z.slice(k * size, (k + 1) * size).map(squash);
    const [i, f, g, o] = [gate(0, sigmoid), gate(1, sigmoid), gate(2, Math.tanh), gate(3, sigmoid)];
    const cell = c.map((old, k) => f[k] * old + i[k] * g[k]);
    return { f, i, g, o, c: cell, h: cell.map((value, k) => o[k] * Math.tanh(value)) };
  }

  /* The gate explorer's unit for one step; state: x, h, c and the four biases. */
  function gateNumbers(data, state) {
    const rows = [..."ifgo"].map((gate) => ({ w: data.weights[gate], b: state["b_" + gate] }));
    const w = { ih: rows.map(({ w }) => [w[0]]), hh: rows.map(({ w }) => [w[1]]), b: rows.map(({ b }) => b) };
    const step = lstmStep([state.x], [state.h], [state.c], w);
    const numbers = Object.fromEntries(Object.entries(step).map(([name, [value]]) => [name, value]));
    for (const gate of "figo") {
      const [w_x, w_h] = data.weights[gate];
      numbers["z_" + gate] = w_x * state.x + w_h * state.h + state["b_" + gate];
    }
    return numbers;
  }

  const zeros = (size) => ({ h: Array(size).fill(0), c: Array(size).fill(0) });

  /* A block of bidirectional layers on frames (T, D); start and end are [layer][direction] -> {h, c}. */
  function runBlock(layers, frames, start) {
    const end = layers.map((directions, layer) => {
      const outputs = directions.map((w, direction) => {
        let state = start[layer][direction];
        const order = range(frames.length);
        const h = Array(frames.length);
        for (const t of direction ? order.reverse() : order) {
          state = lstmStep(frames[t], state.h, state.c, w);
          h[t] = state.h;
        }
        return { h, end: { h: state.h, c: state.c } };
      });
      frames = frames.map((_, t) => [...outputs[0].h[t], ...outputs[1].h[t]]);
      return outputs.map((output) => output.end);
    });
    return { frames, end };
  }

  /* ReLU, BatchNorm with its running statistics, and the larger of each pair of features. */
  function stage(bn, frame) {
    const normed = frame.map(
      (value, k) => ((Math.max(value, 0) - bn.mean[k]) / Math.sqrt(bn.var[k] + bn.eps)) * bn.weight[k] + bn.bias[k],
    );
    return range(normed.length / 2).map((k) => Math.max(normed[2 * k], normed[2 * k + 1]));
  }

  /* What the next block starts from, given the {h, c} in which this one ended. */
  const HANDOVERS = {
    hc: (state) => state,
    h: ([forward, backward]) => [forward, backward].map(({ h }) => ({ ...zeros(h.length), h })),
    c: ([forward, backward]) => [forward, backward].map(({ c }) => ({ ...zeros(c.length), c })),
    swap: ([forward, backward]) => [backward, forward],
    off: (state) => state.map(({ h }) => zeros(h.length)),
  };

  /* The blocks of a cascade on one clip: outputs (2, T, H) of the last layer, and its first and last state. */
  function flow(data, { handover, layers, clip }) {
    let frames = data.clips[clip];
    let start = range(layers).map(() => [zeros(data.hidden), zeros(data.hidden)]);
    return data.blocks.map((block, number) => {
      const { frames: y, end } = runBlock(block.slice(0, layers), frames, start);
      const output = [y.map((row) => row.slice(0, data.hidden)), y.map((row) => row.slice(data.hidden))];
      const shown = { output, first: start[layers - 1], last: end[layers - 1] };
      frames = y.map((frame) => stage(data.stages[number], frame));
      start = end.map(HANDOVERS[handover]);
      return shown;
    });
  }

  function flowNumbers(data, state) {
    const blocks = flow(data, state);
    const other = flow(data, { ...state, handover: state.handover === "off" ? "hc" : "off" });
    const far = (one, two) => sum(one.map((value, k) => Math.abs(value - two[k]))) / one.length;
    const difference = blocks.map(({ output }, number) =>
      output.map((rows, direction) => rows.map((row, t) => far(row, other[number].output[direction][t]))),
    ); // [block][direction][t]
    return { blocks, difference, other };
  }

  /* A split, counted per source video: [class][group] clips and test clips. */
  function splitNumbers(data, { table, protocol, seed, fold }) {
    const digits = (rows) => rows.map((row) => [...row].map(Number));
    const { classes, clips: text, drawn } = data.tables[table];
    const clips = digits(text);
    const tested =
      protocol === "official" // fold 1, 2, 3 tests groups 1-7, 8-14, 15-21
        ? clips.map((row) => row.map((n, k) => (k + 1 >= 7 * fold - 6 && k + 1 <= 7 * fold ? n : 0)))
        : digits(drawn[protocol][seed]);
    const each = (count) => clips.map((row, k) => sum(row.map((n, g) => count(n, tested[k][g]))));
    const isBoth = (n, test) => test > 0 && test < n;
    const leaked = each((n, test) => (isBoth(n, test) ? test : 0)); // per class: test clips with a sibling in training
    const test = each((n, test) => test);
    const all = sum(each((n) => n));
    return {
      classes, clips, tested, leaked, testOfClass: test,
      test: sum(test),
      train: all - sum(test),
      share: sum(leaked) / sum(test),
      siblings: sum(each((n, test) => test * (n - test))) / sum(test),
      sources: sum(each((n) => (n > 0 ? 1 : 0))),
      both: sum(each((n, test) => (isBoth(n, test) ? 1 : 0))),
    };
  }

  // Drawing: SVG on white paper in both colour modes, like the book's figures.

  const GREY = "#6E6E6E";
  const minus = (text) => text.replaceAll("-", "−");
  const fixed = (value, digits) => minus(value.toFixed(digits));
  const signed = (value, digits) => (value < 0 ? "" : "+") + fixed(value, digits);
  const bracket = (value, digits) => (value < 0 ? `(${fixed(value, digits)})` : fixed(value, digits));
  const thousands = (value) => value.toLocaleString("en-US");

  function node(name, attributes = {}, ...children) {
    const svg = "svg rect path text line circle polyline defs marker tspan".split(" ").includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const paper = (width, height, label, ...parts) =>
    node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...parts);
  const line = (x1, y1, x2, y2, stroke = "#BBBBBB") => node("line", { x1, y1, x2, y2, stroke });
  /* A rectangle between two corners in any order. */
  const box = (x1, y1, x2, y2, fill, more = {}) =>
    node("rect", {
      x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1), fill, ...more,
    });
  /* Text in one or more lines; anchor: start, middle or end. */
  const words = (x, y, text, anchor = "middle", more = {}) =>
    node(
      "text", { x, y, "text-anchor": anchor, ...more },
      ...text.split("\n").map((part, k) => node("tspan", { x, dy: k ? "1.15em" : 0 }, part)),
    );

  const GATES = [..."figo"];
  const squash = (gate) => (gate === "g" ? "tanh" : "σ");

  function drawGates(data, state, step) {
    const parts = [words(10, 20, "The gates", "start", { class: "title" })];
    const at = (value) => 210 + 120 * value;
    GATES.forEach((gate, row) => {
      const y = 48 + 62 * row;
      const lowest = gate === "g" ? -1 : 0;
      const text = `${gate} = ${squash(gate)}(${fixed(step["z_" + gate], 2)}) = ${fixed(step[gate], 2)}`;
      const [first, second = ""] = data.names[gate].split(" ");
      parts.push(
        words(80, y + 20, second ? `${first}\n${second}` : first, "end"),
        words(at(-1), y, text, "start"),
        box(at(lowest), y + 8, at(1), y + 36, data.colours[gate], { opacity: 0.15 }),
        box(at(0), y + 8, at(step[gate]), y + 36, data.colours[gate]),
      );
    });
    parts.push(line(at(0), 36, at(0), 286, "#888888"), line(at(-1), 286, at(1), 286));
    for (const tick of [-1, -0.5, 0, 0.5, 1]) parts.push(words(at(tick), 303, minus(String(tick))));
    parts.push(words(at(0), 322, "value (0 closed, 1 open)"), ...drawCell(data, state, step));
    return paper(760, 332, "Left: how far each gate is open. Right: the cell state as a sum of two bars.", ...parts);
  }

  /* Four bars: old cell state and what f keeps, candidate and what i lets in, their sum, and what o shows. */
  function drawCell(data, state, step) {
    const colour = data.colours;
    const [kept, entered] = [step.f * state.c, step.i * step.g];
    const up = (value) => 158 - 32 * value;
    const middle = (place) => 455 + 84 * place;
    const parts = [words(400, 20, "The cell: kept, let in, shown", "start", { class: "title" })];
    const number = (place, end, text) => parts.push(words(middle(place), up(end) + (end < 0 ? 16 : -20), text));
    for (const value of [-3, -2, -1, 0, 1, 2, 3]) {
      parts.push(line(412, up(value), 748, up(value), value ? "#E6E6E6" : "#888888"));
      parts.push(words(406, up(value) + 4, minus(String(value)), "end"));
    }
    const bars = [
      [0, state.c, colour.c, kept, colour.f, `f·c\n${signed(kept, 2)}`],
      [1, step.g, colour.g, entered, colour.i, `i·g\n${signed(entered, 2)}`],
      [3, Math.tanh(step.c), colour.c, step.h, colour.h, `new h\n${signed(step.h, 2)}`],
    ];
    for (const [place, there, light, passed, full, text] of bars) {
      parts.push(box(middle(place) - 23, up(0), middle(place) + 23, up(there), light, { opacity: 0.22 }));
      parts.push(box(middle(place) - 23, up(0), middle(place) + 23, up(passed), full));
      number(place, there, text);
    }
    parts.push(box(middle(2) - 23, up(0), middle(2), up(kept), colour.f)); // what enters starts where what is kept ends
    parts.push(box(middle(2), up(kept), middle(2) + 23, up(kept + entered), colour.i));
    parts.push(box(middle(2) - 26, up(step.c) - 2, middle(2) + 26, up(step.c) + 2, colour.c));
    const extreme = step.c < 0 ? Math.min(kept, step.c, 0) : Math.max(kept, step.c, 0);
    number(2, extreme, `new c\n${signed(step.c, 2)}`);
    const below = ["old c\nf keeps", "g\ni lets in", "new c\nthe sum", "tanh(c)\no shows"];
    below.forEach((text, place) => parts.push(words(middle(place), 290, text)));
    [..."+=→"].forEach((sign, place) => parts.push(words(middle(place + 0.5), 292, sign, "middle", { class: "sign" })));
    parts.push(words(748, 34, "light: what is there, full: what the gate lets through", "end", { class: "small" }));
    return parts;
  }

  function gateText(data, state, step) {
    const chip = (name) => `<span class="chip" style="background:${data.colours[name]}"></span>`;
    const row = (name, text) =>
      `${chip(name)}Eq. ${data.equations[name]}: ${"ch".includes(name) ? "new " : ""}<b>${name}</b> = ${text}`;
    const rows = GATES.map((gate) => {
      const [w_x, w_h] = data.weights[gate];
      const [x, h, b] = [state.x, state.h, state["b_" + gate]].map((value) => bracket(value, 1));
      const inside = `${minus(String(w_x))}·${x} + ${minus(String(w_h))}·${h} + ${b}`;
      const name = squash(gate);
      return row(gate, `${name}(${inside}) = ${name}(${fixed(step["z_" + gate], 2)}) = <b>${fixed(step[gate], 3)}</b>`);
    });
    const [kept, entered] = [step.f * state.c, step.i * step.g];
    rows.splice(3, 0, row("c", `f·c + i·g = ${fixed(kept, 3)} + ${bracket(entered, 3)} = <b>${fixed(step.c, 3)}</b>`));
    const shown = `${fixed(step.o, 3)}·${bracket(Math.tanh(step.c), 3)}`;
    rows.push(row("h", `o·tanh(c) = ${shown} = <b>${fixed(step.h, 3)}</b>`));
    const percent = (value) => `${fixed(100 * value, 0)} %`;
    const all =
      `f keeps ${percent(step.f)} of the old cell state, i lets in ${percent(step.i)} of the candidate, ` +
      `o shows ${percent(step.o)} of tanh(c).`;
    return [all, ...rows].join("<br>");
  }

  /* Blue below zero, red above, near white at zero. */
  function heat(value, limit) {
    const share = Math.min(Math.abs(value) / limit, 1);
    const end = value < 0 ? [33, 102, 172] : [178, 24, 43];
    return `rgb(${end.map((part) => Math.round(247 + (part - 247) * share)).join(",")})`;
  }

  const CELL = 11; // pixels of a frame and of a unit
  const STRIP = 10; // of a column of h or c

  function drawFlow(data, state, { blocks, difference, other }) {
    const frames = data.clips[state.clip].length;
    const tall = CELL * data.hidden;
    const [top, gap] = [42, 34];
    const bottom = top + 2 * tall + gap;
    const both = [...blocks, ...other];
    const biggest = (values) => Math.max(...values.flat(9).map(Math.abs), 1e-9);
    const limit = { h: biggest(both.map(({ output }) => output)), c: biggest(both.map(({ last }) => last.map(({ c }) => c))) };
    const places = blocks.map((_, number) => {
      const left = 92 + number * (2 * STRIP + CELL * frames + 2 * STRIP + 12 + 44);
      const begin = left + 2 * STRIP + 6;
      return { left, begin, end: begin + CELL * frames, right: begin + CELL * frames + 6 };
    });
    const rowTop = (direction) => top + direction * (tall + gap);
    const parts = [
      words(84, rowTop(0) + tall / 2, "forward →\nH units", "end"),
      words(84, rowTop(1) + tall / 2, "← backward\nH units", "end"),
    ];
    const column = (x, y, width, values, scale) =>
      values.forEach((value, k) => parts.push(box(x, y + CELL * k, x + width, y + CELL * (k + 1), heat(value, scale))));
    blocks.forEach((block, number) => {
      const place = places[number];
      parts.push(words((place.begin + place.end) / 2, top - 22, `block ${number + 1}`, "middle", { class: "title" }));
      for (const direction of [0, 1]) {
        const y = rowTop(direction);
        block.output[direction].forEach((values, t) => column(place.begin + CELL * t, y, CELL, values, limit.h));
        // Backward starts on the right.
        const [atLeft, atRight] = direction ? [block.last, block.first] : [block.first, block.last];
        for (const [x, states] of [[place.left, atLeft], [place.right, atRight]]) {
          column(x, y, STRIP, states[direction].h, limit.h);
          column(x + STRIP, y, STRIP, states[direction].c, limit.c);
          parts.push(box(x, y, x + 2 * STRIP, y + tall, "none", { stroke: "#777777" }));
          if (!direction) {
            ["h", "c"].forEach((name, k) =>
              parts.push(words(x + STRIP * (k + 0.5), top - 6, name, "middle", { fill: data.colours[name], class: "title" })),
            );
          }
        }
      }
    });
    parts.push(...drawHandover(state.handover, places, top, tall, gap));
    parts.push(...drawDifference(places, difference, bottom + 68));
    const which = state.handover === "off" ? "with" : "without";
    const title = `How far the outputs are from those ${which} hand-over (mean over units)`;
    parts.push(words(92, bottom + 52, title, "start", { class: "title" }));
    const key =
      `Red: positive, blue: negative. Outputs and h: ±${fixed(limit.h, 2)}, c: ±${fixed(limit.c, 2)}. Dark line: forward, ` +
      "dashed: backward.\nStrips: h and c of a block's last layer, where a direction starts and where it ends.";
    parts.push(words(10, bottom + 170, key, "start", { class: "small" }));
    const label =
      "Outputs of three blocks over time in both directions, the states between them, and how much the hand-over changes them.";
    return paper(760, bottom + 190, label, ...parts);
  }

  /* Arrows from where a direction ends in one block to where one starts in the next. */
  function drawHandover(handover, places, top, tall, gap) {
    if (handover === "off") return [];
    const head = node("path", { d: "M0,0 L6,3 L0,6 z", fill: "#333333" });
    const marker = { id: "explorer-arrow", orient: "auto", refX: 5, refY: 3, markerWidth: 7, markerHeight: 7 };
    const parts = [node("defs", {}, node("marker", marker, head))];
    const arrow = (...points) =>
      parts.push(node("polyline", {
        points: points.map((point) => point.join(",")).join(" "),
        fill: "none", stroke: "#333333", "stroke-width": 1.5, "marker-end": "url(#explorer-arrow)",
      }));
    const middle = { h: 0.5, c: 1.5 }[handover] ?? 1; // in strips: the column handed over, or between both
    const [low, bottom] = [top + tall, top + 2 * tall + gap];
    places.slice(1).forEach((next, k) => {
      const one = places[k];
      const [right, left] = [one.right + middle * STRIP, one.left + middle * STRIP];
      const [nextRight, nextLeft] = [next.right + middle * STRIP, next.left + middle * STRIP];
      if (handover === "swap") {
        arrow([right, low], [right, low + 0.35 * gap], [nextRight, low + 0.35 * gap], [nextRight, low + gap]);
        arrow([left, low + gap], [left, low + 0.65 * gap], [nextLeft, low + 0.65 * gap], [nextLeft, low]);
      } else {
        const level = bottom + 14 + 14 * k;
        arrow([one.right + 2 * STRIP, top + tall / 2], [next.left, top + tall / 2]);
        arrow([left, bottom], [left, level], [nextRight, level], [nextRight, bottom]);
      }
    });
    return parts;
  }

  function drawDifference(places, difference, top) {
    const parts = [];
    const highest = Math.max(...difference.flat(2), 1e-9);
    const y = (value) => top + 62 - (56 * value) / highest;
    parts.push(words(84, y(highest) + 4, fixed(highest, 3), "end"), words(84, y(0) + 4, "0", "end"));
    difference.forEach((rows, number) => {
      const place = places[number];
      parts.push(line(place.begin, y(0), place.end, y(0)));
      parts.push(words((place.begin + place.end) / 2, y(0) + 17, `frames 0 to ${rows[0].length - 1}`));
      rows.forEach((values, direction) => {
        const points = values.map((value, t) => [place.begin + CELL * (t + 0.5), y(value)]);
        const look = direction ? { stroke: "#999999", "stroke-dasharray": "5 3" } : { stroke: "#444444" };
        parts.push(node("polyline", { points: points.join(" "), fill: "none", "stroke-width": 1.6, ...look }));
        for (const [cx, cy] of points) parts.push(node("circle", { cx, cy, r: 2.4, fill: look.stroke }));
      });
    });
    return parts;
  }

  function flowText(data, state, { blocks, difference }) {
    const lines = blocks.slice(1).flatMap((next, k) =>
      ["forward", "backward"].map((direction, row) => {
        const same = ["h", "c"].map((name) => {
          const gap = Math.max(...next.first[row][name].map((value, u) => Math.abs(value - blocks[k].last[row][name][u])));
          return `${name} ${gap === 0 ? "<b>the same</b>" : `differs by up to ${fixed(gap, 3)}`}`;
        });
        return `block ${k + 1} end → block ${k + 2} start, ${direction}: ${same.join(", ")}`;
      }),
    );
    const rows = difference[1];
    const last = rows[0].length - 1;
    const ends = rows.map((values) => `${fixed(values[0], 3)} at frame 0, ${fixed(values[last], 3)} at frame ${last}`);
    const which = state.handover === "off" ? "with" : "without";
    lines.push(`block 2, difference from the outputs ${which} hand-over: forward ${ends[0]}; backward ${ends[1]}`);
    return lines.join("<br>");
  }

  function drawSplit(data, state, cut) {
    const colours = Object.values(data.parts); // train only, test only, both
    const [rows, columns] = [cut.clips.length, cut.clips[0].length];
    const small = rows <= 25;
    const step = small ? 24 : 7.6;
    const [left, wide, top] = [small ? 120 : 130, 400, 84];
    const cell = wide / columns;
    const bottom = top + rows * step;
    const which = state.protocol === "official" ? `fold ${state.fold}` : `seed ${state.seed}`;
    const name = data.names[state.protocol];
    const parts = [words(10, 18, `${name}, ${which}: ${thousands(cut.train + cut.test)} clips`, "start", { class: "title" })];
    const leaked = sum(cut.leaked);
    const sizes = [
      [cut.train, colours[0], "train", "#000000"],
      [cut.test - leaked, colours[1], "test, no sibling in train", "#FFFFFF"],
      [leaked, colours[2], "test, sibling in train", "#000000"],
    ];
    let start = 10;
    for (const [size, colour, text, ink] of sizes) {
      const end = start + (740 * size) / (cut.train + cut.test);
      parts.push(box(start, 26, end, 54, colour));
      if (end - start > 118) parts.push(words((start + end) / 2, 44, `${text}: ${thousands(size)}`, "middle", { fill: ink }));
      start = end;
    }
    parts.push(words(left, 74, "Clips of a source video:", "start", { class: "small" }));
    Object.entries(data.parts).forEach(([text, colour], k) => {
      const x = left + 140 + 100 * k;
      parts.push(box(x, 66, x + 9, 75, colour), words(x + 13, 74, text, "start", { class: "small" }));
    });
    // One path per colour: 2,525 elements would be slow.
    const paths = ["", "", ""];
    cut.clips.forEach((row, k) =>
      row.forEach((clips, g) => {
        const test = cut.tested[k][g];
        const kind = test === 0 ? 0 : test === clips ? 1 : 2;
        const [x, y, w, h] = [left + g * cell, top + k * step, cell - 0.8, step - 0.8];
        if (clips) paths[kind] += `M${x},${y}h${w}v${h}h${-w}z`;
      }),
    );
    paths.forEach((d, kind) => parts.push(node("path", { d, fill: colours[kind] })));
    const most = Math.max(...cut.testOfClass, 1);
    const bar = (value) => left + wide + 16 + (190 * value) / most;
    cut.classes.forEach((label, k) => {
      const y = top + k * step;
      parts.push(words(left - 5, y + step / 2 + (small ? 4 : 2.4), label, "end", small ? {} : { class: "tiny" }));
      parts.push(box(bar(0), y, bar(cut.testOfClass[k]), y + step - 0.8, colours[1]));
      parts.push(box(bar(0), y, bar(cut.leaked[k]), y + step - 0.8, colours[2]));
    });
    if (small && columns <= 12) {
      cut.clips.forEach((row, k) =>
        row.forEach((clips, g) => {
          const test = cut.tested[k][g];
          const ink = { fill: test === clips ? "#FFFFFF" : "#000000", class: "small" };
          if (clips) parts.push(words(left + (g + 0.5) * cell, top + (k + 0.5) * step + 3.5, `${test}/${clips}`, "middle", ink));
        }),
      );
    }
    range(columns).forEach((g) => {
      if (columns <= 12 || g === 0 || (g + 1) % 5 === 0) parts.push(words(left + (g + 0.5) * cell, bottom + 14, String(g + 1)));
    });
    const note = small && columns <= 12 ? ", test clips / clips" : "";
    parts.push(words(left + wide / 2, bottom + 32, `source video (group) of the class${note}`));
    parts.push(words(bar(0), bottom + 14, "0"), words(bar(most), bottom + 14, String(most)));
    parts.push(words(bar(most / 2), bottom + 32, "test clips of the class"));
    const label = "Every source video of every class: its clips are in training, in test, or in both.";
    return paper(760, bottom + 42, label, ...parts);
  }

  function splitText(data, state, cut) {
    const last = cut.clips[0].length;
    if (!cut.test) return `<b>Fold ${state.fold} leaves the test set empty</b>: these clips have only groups 1 to ${last}.`;
    const share = (value) => `${fixed(100 * value, 1)} %`;
    const [least, most] = [Math.min(...cut.testOfClass), Math.max(...cut.testOfClass)];
    return (
      `${thousands(cut.train)} clips train and ${thousands(cut.test)} test (${share(cut.test / (cut.train + cut.test))}); ` +
      `a class has ${least} to ${most} test clips.<br><b>${share(cut.share)}</b> of the test clips have a sibling in training, ` +
      `${fixed(cut.siblings, 1)} on average. Of ${thousands(cut.sources)} source videos, ${thousands(cut.both)} have clips in both parts.`
    );
  }

  // The three explorers: controls, numbers, picture, text.

  const slider = (name, label, value, min, max, step) => ({ name, label, value, min, max, step });
  const choice = (name, label, value, options) => ({ name, label, value, options }); // options: [[text, value], ...]

  const EXPLORERS = {
    gates: {
      title: "Gate explorer",
      controls: (data) =>
        Object.entries(data.start).map(([name, value]) => {
          const states = { x: "input x", h: "old hidden h", c: "old cell c" };
          const label = states[name] ?? `bias ${name}, ${data.names[name[2]].split(" ")[0]}`;
          return slider(name, label, value, -data.ranges[name], data.ranges[name], 0.1);
        }),
      numbers: gateNumbers,
      draw: drawGates,
      text: gateText,
    },
    flow: {
      title: "State flow",
      note: (data) =>
        `A smaller cascade than the chapter's: ${data.blocks.length} blocks, H = ${data.hidden}, random weights and clips, ` +
        "with ReLU, BatchNorm and feature pooling between the blocks.",
      controls: (data) => [
        choice("handover", "Hand-over", "hc", data.handovers),
        choice("layers", "Layers per block", data.blocks[0].length, data.blocks[0].map((_, k) => [String(k + 1), k + 1])),
        choice("clip", "Clip", 0, data.clips.map((_, k) => [String(k), k])),
      ],
      numbers: flowNumbers,
      draw: drawFlow,
      text: flowText,
    },
    splits: {
      title: "Split explorer",
      controls: (data, place) => {
        const tables = Object.entries(data.tables).map(([key, { title }]) => [title, key]);
        const protocols = Object.entries(data.names).map(([key, name]) => [name, key]);
        return [
          choice("table", "Clips", place.dataset.table ?? "ucf101", tables),
          choice("protocol", "Split", "paper", protocols),
          slider("seed", "Seed", 0, 0, data.tables.ucf101.drawn.paper.length - 1, 1),
          choice("fold", "Official fold", 1, data.folds),
        ];
      },
      disabled: ({ protocol }) => (protocol === "official" ? ["seed"] : ["fold"]),
      numbers: splitNumbers,
      draw: drawSplit,
      text: splitText,
      textFirst: true, // the picture is taller than a screen
    },
  };

  /* Fill a place with its explorer; `place.explorer` keeps its state and numbers. */
  function mount(place) {
    const data = (window.explorerData ?? {})[place.dataset.explorer];
    const kind = EXPLORERS[place.dataset.explorer];
    if (!data || !kind || place.explorer) return;
    const controls = kind.controls(data, place);
    const form = node("form", { class: "explorer-controls" });
    const picture = node("div", { class: "explorer-picture" });
    const text = node("p", { role: "status" });
    const inputs = {};
    for (const { name, label, value, options, ...limits } of controls) {
      const input = options
        ? node("select", { name }, ...options.map(([text, key]) => new Option(text, key, key === value)))
        : node("input", { type: "range", name, ...limits, value });
      inputs[name] = input;
      const shown = options ? [] : [node("output", { "aria-hidden": "true" })]; // screen readers read a slider's own value
      form.append(node("label", {}, node("span", {}, label), input, ...shown));
    }
    form.append(node("button", { type: "reset" }, "Reset"));

    function update() {
      const state = {};
      for (const { name, value, options, step } of controls) {
        const input = inputs[name];
        state[name] = typeof value === "number" ? Number(input.value) : input.value;
        if (!options) input.nextElementSibling.textContent = step < 1 ? signed(state[name], 1) : input.value;
      }
      const off = kind.disabled?.(state) ?? [];
      for (const [name, input] of Object.entries(inputs)) input.disabled = off.includes(name);
      const numbers = kind.numbers(data, state);
      place.explorer = { state, numbers };
      picture.replaceChildren(kind.draw(data, state, numbers));
      text.innerHTML = kind.text(data, state, numbers);
    }

    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(update)); // after the controls are back at their first values
    const title = node("p", { class: "explorer-title" }, node("b", {}, kind.title), ", computed on this page");
    const note = kind.note ? [node("p", { class: "explorer-note" }, kind.note(data))] : [];
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", kind.title);
    place.replaceChildren(title, ...note, form, ...(kind.textFirst ? [text, picture] : [picture, text]));
    form.reset(); // browsers keep the values when a page is reloaded
    update();
  }

  document.querySelectorAll(".explorer[data-explorer]").forEach(mount);
})();
