"""Bespoke Curator, openai backend; its caps of requests and tokens a minute are lifted."""

import importlib.util
import os
from pathlib import Path

from questions import given, questions

url, rows, width, folder = given()
os.environ.update(CURATOR_CACHE_DIR=folder, TELEMETRY_ENABLED="false", OPENAI_API_KEY="none", CURATOR_VIEWER="0")
# It counts tokens with tiktoken, which would fetch its vocabulary; litellm, which it depends on, ships the file.
litellm = Path(importlib.util.find_spec("litellm").origin).parent
os.environ["TIKTOKEN_CACHE_DIR"] = str(litellm / "litellm_core_utils" / "tokenizers")

from bespokelabs import curator  # noqa: E402


class Answer(curator.LLM):
    """One row, one answer."""

    def prompt(self, row):
        return row["question"]

    def parse(self, row, response):
        return {"question": row["question"], "answer": response}


limits = {"max_requests_per_minute": 10_000_000, "max_tokens_per_minute": 10_000_000_000}
llm = Answer(
    model_name="m",
    backend="openai",
    backend_params={"base_url": url, "api_key": "none", "max_concurrent_requests": width, **limits},
)
print(len(llm([{"question": text} for text in questions(rows)]).dataset))
