// Measuring in real time on a machine that may be busy with something else.

/** This process, like all others here, was kept waiting for so long: nobody's sound survives that unharmed. */
const STALL_MS = 30;

/** Notices how late timers fire. */
class Stalls {
  worst = 0;
  #due = performance.now() + 5;
  #timer = setInterval(() => {
    const now = performance.now();
    this.worst = Math.max(this.worst, now - this.#due);
    this.#due = now + 5;
  }, 5);

  end() {
    clearInterval(this.#timer);
    return Math.round(this.worst);
  }
}

/** Does a measurement, again (three times in all) if it fails and the machine is seen to have stalled. */
export async function steady(measure) {
  for (let left = 2; ; left--) {
    const stalls = new Stalls();
    try {
      return await measure();
    } catch (error) {
      const worst = stalls.end();
      if (worst < STALL_MS || !left) throw error;
      console.log(JSON.stringify({ again: error.message, stall_ms: worst }));
    } finally {
      stalls.end();
    }
  }
}
