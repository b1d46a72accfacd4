"""A locustfile of your own: users who ask, read the answer, wait, and ask again.

Run it against the embedded simulator: ``locust -f my.py --headless --sim -u 20 -r 20 -t 30s``,
or against a server: replace --sim with ``--base-url http://host:8000 --model NAME``.
All flags: ``llmbench serve --help=all``.
"""

import locust
from locust import between, task

from llmbench_locust import OpenAIChatUser


class Chat(OpenAIChatUser):
    # Seconds that a user waits between two tasks.
    wait_time = between(0.5, 2)

    @task
    def conversation(self):
        # Each call is one request with its token-level metrics. A failed request has an error
        # instead of a text; the run goes on.
        first = self.chat("Name a river in Europe.", max_tokens=32)
        if not first.success:
            return
        history = [
            {"role": "user", "content": "Name a river in Europe."},
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "How long is it?"},
        ]
        self.chat(history, max_tokens=64)


@locust.events.llm_request.add_listener
def slow_requests(record, **_):
    # One RequestRecord for each request, in the process that sent it. Times are in seconds.
    waited_s = record.first_token_time - record.start_time
    if record.success and waited_s > 2:
        print(f"slow: request {record.request_id} waited {waited_s:.1f} s for its first token")
