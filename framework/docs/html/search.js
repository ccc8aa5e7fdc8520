(() => {
  const typed = document.getElementById("q");
  const said = document.getElementById("said");
  const items = [...document.querySelectorAll("#list > li")];
  const show = () => {
    const words = typed.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const item of items) {
      const fits = words.every((word) => item.dataset.words.includes(word));
      item.hidden = !fits;
      count += fits;
    }
    said.textContent = words.length === 0 ? `${items.length} connectors`
      : count === 0 ? "No connector fits. Fewer or other words may."
      : `${count} of ${items.length} connectors`;
    history.replaceState(null, "", typed.value.trim() ? `#q=${encodeURIComponent(typed.value.trim())}` : "#");
  };
  document.getElementById("search").hidden = false;
  typed.addEventListener("input", show);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== typed && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      typed.focus();
      typed.select();
    } else if (event.key === "Escape" && document.activeElement === typed && typed.value) {
      typed.value = "";
      show();
    }
  });
  if (location.hash.startsWith("#q=")) {
    try { typed.value = decodeURIComponent(location.hash.slice(3)); } catch { typed.value = ""; }
    show();
  }
})();
