// A browser starts no web worker on a page that was opened from disk. The search needs one: here it runs in a hidden
// frame instead. With a server, nothing of this happens.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      const start = () => {
        document.body.appendChild(frame);
        const inside = frame.contentWindow;
        // What the script sends to its page arrives as a message of this worker.
        inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}));
        const script = inside.document.createElement("script");
        script.src = url;
        script.onload = () => {
          this.inside = inside;
          this.waiting.splice(0).forEach(data => this.postMessage(data));
        };
        inside.document.body.appendChild(script);
      };
      document.body ? start() : addEventListener("DOMContentLoaded", start);
    }
    postMessage(data) {
      if (this.inside) this.inside.dispatchEvent(new MessageEvent("message", {data}));
      else this.waiting.push(data);
    }
    terminate() {}
  };
}
