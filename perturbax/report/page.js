/* What a page can do beyond being read: values under the pointer, variants to hide, and new results while it is watched. */
(() => {
  "use strict";
  const EVERY = 1500; /* milliseconds between looks for something new */
  const hidden = new Set(); /* names of variants */

  const made = (kind, name, text) => {
    const element = document.createElement(kind);
    element.className = name;
    element.textContent = text || "";
    return element;
  };

  const shown = (value) => {
    const size = Math.abs(value);
    return size === 0 || (size >= 1e-3 && size < 1e6)
      ? String(Number(value.toPrecision(4)))
      : value.toExponential(2);
  };

  const share = (value, ends, logarithmic) =>
    logarithmic
      ? Math.log(value / ends[0]) / Math.log(ends[1] / ends[0])
      : (value - ends[0]) / (ends[1] - ends[0]);

  const valueAt = (place, ends, logarithmic) =>
    logarithmic ? ends[0] * (ends[1] / ends[0]) ** place : ends[0] + place * (ends[1] - ends[0]);

  const nearest = (xs, x) => {
    let best = -1;
    xs.forEach((value, i) => {
      if (best < 0 || Math.abs(value - x) < Math.abs(xs[best] - x)) best = i;
    });
    return best;
  };

  /* One panel: a line that follows the pointer or the arrow keys, and the values there. */
  const hover = (panel) => {
    const data = JSON.parse(panel.dataset.curves);
    const [left, top, right, bottom] = data.box;
    const line = made("div", "cross");
    const tip = made("div", "tip");
    tip.setAttribute("role", "status");
    line.hidden = tip.hidden = true;
    panel.append(line, tip);
    panel.tabIndex = 0;
    let place = 1;

    const show = () => {
      const lines = data.lines.filter((one) => one.x.length && !hidden.has(one.name));
      const x = valueAt(place, data.xlim, data.xlog);
      const rows = lines
        .map((one) => ({ one, i: nearest(one.x, x) }))
        .sort((a, b) => b.one.mean[b.i] - a.one.mean[a.i]);
      line.hidden = tip.hidden = !rows.length;
      if (!rows.length) return;
      tip.replaceChildren(made("b", "", data.words + " " + shown(x)));
      for (const { one, i } of rows) {
        const row = made("div", "", "");
        const mark = made("i", "", "");
        mark.style.background = one.colour;
        let text = one.name + ": " + shown(one.mean[i]);
        if (one.low[i] !== one.high[i]) text += " (" + shown(one.low[i]) + " to " + shown(one.high[i]) + ")";
        if (Math.abs(share(one.x[i], data.xlim, data.xlog) - place) > 0.02) text += " at " + shown(one.x[i]);
        row.append(mark, text);
        tip.append(row);
      }
      const area = panel.querySelector("svg").getBoundingClientRect();
      const frame = panel.getBoundingClientRect();
      const at = area.left - frame.left + area.width * (left + place * (right - left));
      line.style.left = at + "px";
      line.style.top = area.top - frame.top + area.height * top + "px";
      line.style.height = area.height * (bottom - top) + "px";
      const room = Math.max(0, document.documentElement.clientWidth - frame.left - tip.offsetWidth - 8);
      tip.style.left = Math.min(at + 12, room) + "px";
      tip.style.top = area.top - frame.top + area.height * bottom + 4 + "px";
    };
    const move = (event) => {
      const area = panel.querySelector("svg").getBoundingClientRect();
      place = ((event.clientX - area.left) / area.width - left) / (right - left);
      place = Math.min(Math.max(place, 0), 1);
      show();
    };
    const leave = () => {
      line.hidden = tip.hidden = true;
    };
    panel.addEventListener("pointermove", move);
    panel.addEventListener("pointerdown", move);
    panel.addEventListener("pointerleave", leave);
    panel.addEventListener("focus", () => panel.matches(":focus-visible") && show());
    panel.addEventListener("blur", leave);
    panel.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 };
      if (event.key === "Escape") leave();
      if (!(event.key in steps)) return;
      event.preventDefault();
      place = Math.min(Math.max(place + steps[event.key], 0), 1);
      show();
    });
  };

  /* The names beside the curves become buttons that hide and show them. */
  const toggles = (figure) => {
    const panels = [...figure.querySelectorAll("[data-curves]")];
    const apply = () => {
      for (const panel of panels)
        for (const one of JSON.parse(panel.dataset.curves).lines)
          for (const part of panel.querySelectorAll('[id^="' + one.id + '-"]'))
            part.style.display = hidden.has(one.name) ? "none" : "";
      for (const button of figure.querySelectorAll(".legend button"))
        button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.name)));
    };
    for (const item of figure.querySelectorAll(".legend li[data-name]")) {
      const button = made("button", "", "");
      button.type = "button";
      button.title = "hide or show";
      button.dataset.name = item.dataset.name;
      button.append(...item.childNodes);
      button.addEventListener("click", () => {
        const name = button.dataset.name;
        if (!hidden.delete(name)) hidden.add(name);
        apply();
      });
      item.append(button);
    }
    apply();
  };

  const setUp = () => {
    document.querySelectorAll("[data-curves]").forEach(hover);
    document.querySelectorAll("figure.curves").forEach(toggles);
  };

  /* While runs are watched: what is new takes the place of what is old; what the reader has opened stays. */
  const replaced = (main, fresh) => {
    const opened = [...main.querySelectorAll("details")].map((one) => one.open);
    const scrolled = [...main.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    const focused = document.activeElement && document.activeElement.dataset.name;
    main.replaceWith(fresh);
    setUp();
    fresh.querySelectorAll("details").forEach((one, i) => (one.open = !!opened[i]));
    fresh.querySelectorAll(".scroll").forEach((one, i) => (one.scrollLeft = scrolled[i] || 0));
    for (const button of fresh.querySelectorAll(".legend button"))
      if (focused && button.dataset.name === focused) button.focus();
  };

  const refresh = async () => {
    const main = document.querySelector("main");
    try {
      const version = await (await fetch("/version", { cache: "no-store" })).text();
      if (version !== main.dataset.version) {
        const text = await (await fetch("/", { cache: "no-store" })).text();
        const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
        if (fresh) replaced(main, document.adoptNode(fresh));
      }
    } catch {
      for (const live of document.querySelectorAll(".live")) {
        live.textContent = "No longer watched: the command has ended. This is its last state.";
        live.classList.add("ended");
      }
      return;
    }
    setTimeout(refresh, EVERY);
  };

  setUp();
  if (location.protocol !== "file:" && document.querySelector("main").dataset.version) setTimeout(refresh, EVERY);
})();
