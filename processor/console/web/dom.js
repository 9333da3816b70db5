// Everything that others wrote goes into the page as text, never as markup.

export const $ = (id) => document.getElementById(id);

// make builds an element: attributes by name, "text" and "class" by what they are.
export function make(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") e.textContent = value;
    else if (name === "class") e.className = value;
    else if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

export function svg(tag, attributes = {}) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  return e;
}

// say changes a text only if it is another: screen readers and selections care.
export function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

export function dress(e, name) {
  if (e.className !== name) e.className = name;
}
