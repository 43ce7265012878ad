/** The parts of the page, as they are handed to one another. @module */

import type { Loader } from "./model/loader.ts";
import type { Measurement } from "./model/measurement.ts";
import type { State } from "./model/state.ts";
import type { Stream } from "./model/stream_connection.ts";
import type { Frames, PageView } from "./view.ts";

/** See the modules of each. */
export interface Page {
  state: State;
  frames: Frames;
  load: Loader;
  stream: Stream;
  measurement: Measurement;
  view: PageView;
}
