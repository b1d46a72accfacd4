"""Closed loop: each user asks, reads the answer, thinks, asks again. Same figures as with a plan of
arrivals.

``locust -f locustfiles/chat_closed_loop.py --headless --sim -u 20 -r 20 -t 30s``
"""

from locust import between, task

from llmbench_locust import OpenAIChatUser


class Chat(OpenAIChatUser):
    wait_time = between(0.5, 2)

    @task
    def ask(self):
        first = self.chat("Name a river in Europe.", max_tokens=32)
        history = [
            {"role": "user", "content": "Name a river in Europe."},
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "How long is it?"},
        ]
        self.chat(history, max_tokens=64)
