"""llama.cpp's own /completion."""

from __future__ import annotations

from llmbench_locust.backends import BACKENDS
from llmbench_locust.json_types import Json
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.sinks import TextSink, count
from llmbench_locust.workload.sample import SampleRequest


class LlamaCppSink(TextSink):
    """The last event has ``stop`` true and the counts. Newer servers count on every event, too."""

    markers = (b'"content":"',)

    def __init__(self) -> None:
        super().__init__()
        self._counted = 0

    def on_object(self, event: Json) -> int:
        stop = bool(event.get("stop"))
        predicted = count(event.get("tokens_predicted"))
        if stop:
            self.finished = True
            self.counts(output=predicted, input=event.get("tokens_evaluated"))
            older = "length" if event.get("stopped_limit") else "stop"
            self.finish(event.get("stop_type") or older)
        content = event.get("content")
        if not content:
            return 0
        self.answer(str(content))
        if predicted < 0:
            return 1 if stop or event.get("tokens") or not isinstance(content, str) else -1
        # A character of several tokens comes in one event, with the last token.
        added, self._counted = predicted - self._counted, predicted
        return max(1, added)


class LlamaCpp(Protocol):
    info = BACKENDS["llama.cpp"]
    sink_class = LlamaCppSink
    renamed = {"repetition_penalty": "repeat_penalty"}

    def body(self, sample: SampleRequest, model: str) -> Json:
        return {"prompt": sample.prompt, "n_predict": sample.expected_output_len, "stream": True}
