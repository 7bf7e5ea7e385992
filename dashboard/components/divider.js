const LARGEST = 8;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export default function ({ data, parentElement }) {
  const find = (selector) => parentElement.querySelector(selector);
  const compare = find(".compare"), stage = find(".stage"), range = find(".range");
  const before = find(".before"), after = find(".after"), zoom = find(".zoom");
  // Kept on the element, so that it outlives a rerun of the page.
  const state = (stage.facesr ??= { scale: 1, x: 50, y: 50 });

  if (after.src !== data.after) after.src = data.after;
  if (before.src !== data.before) before.src = data.before;
  after.alt = data.after_alt;
  before.alt = data.before_alt;
  find(".left").textContent = data.before_label;
  find(".right").textContent = data.after_label;
  compare.style.setProperty("--width", data.width);
  compare.style.setProperty("--ratio", data.ratio);

  const draw = () => {
    const position = Number(range.value);
    const set = (name, value) => stage.style.setProperty(name, value);
    set("--position", `${position}%`);
    set("--clip", `${state.x + (position - state.x) / state.scale}%`);
    set("--scale", state.scale);
    set("--x", `${state.x}%`);
    set("--y", `${state.y}%`);
    stage.classList.toggle("pixels", state.scale >= 4);
    range.setAttribute("aria-valuetext", `${Math.round(position)}% ${data.before_label}`);
    zoom.textContent = `${Math.round(state.scale * 100)}%`;
  };
  const zoomTo = (scale, event) => {
    scale = clamp(scale, 1, LARGEST);
    if (event && state.scale === 1) {
      const box = stage.getBoundingClientRect();
      state.x = clamp(((event.clientX - box.left) / box.width) * 100, 0, 100);
      state.y = clamp(((event.clientY - box.top) / box.height) * 100, 0, 100);
    }
    if (scale === 1) state.x = state.y = 50;
    state.scale = scale;
    draw();
  };
  const move = (x, y) => {
    state.x = clamp(state.x + x, 0, 100);
    state.y = clamp(state.y + y, 0, 100);
    draw();
  };

  range.oninput = draw;
  range.ondblclick = (event) => zoomTo(state.scale > 1 ? 1 : 4, event);
  find(".larger").onclick = () => zoomTo(state.scale * 2);
  find(".smaller").onclick = () => zoomTo(state.scale / 2);
  find(".reset").onclick = () => zoomTo(1);
  range.onkeydown = (event) => {
    const zooms = { "+": state.scale * 2, "=": state.scale * 2, "-": state.scale / 2, 0: 1 };
    const moves = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] };
    if (event.shiftKey && moves[event.key]) {
      event.preventDefault();
      move(...moves[event.key]);
    } else if (event.key in zooms && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      zoomTo(zooms[event.key]);
    }
  };
  // A listener that may stop the page from scrolling has to say so.
  const wheel = (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomTo(state.scale * (event.deltaY < 0 ? 1.25 : 0.8), event);
  };
  stage.addEventListener("wheel", wheel, { passive: false });
  draw();
  return () => stage.removeEventListener("wheel", wheel);
}
