// Runs in an origin of its own (the server says so), where a report may use its own script: it can
// reach neither the page around it, nor its key, nor any network.
addEventListener("message", (event) => {
  if (event.source !== parent || typeof event.data !== "string") return;
  document.open();
  document.write(event.data);
  document.close();
}, { once: true });
