"""distilabel: LoadDataFromDicts and TextGeneration with OpenAILLM; a batch is as wide as the calls in flight."""

import logging
import os

from questions import given, questions

url, rows, width, folder = given()
os.environ.update(OPENAI_API_KEY="none", DISTILABEL_LOG_LEVEL="WARNING")

from distilabel.models.llms import OpenAILLM  # noqa: E402
from distilabel.pipeline import Pipeline  # noqa: E402
from distilabel.steps import LoadDataFromDicts  # noqa: E402
from distilabel.steps.tasks import TextGeneration  # noqa: E402

if __name__ == "__main__":
    logging.disable(logging.INFO)
    with Pipeline("answers", cache_dir=folder) as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": text} for text in questions(rows)], batch_size=width)
        ask = TextGeneration(llm=OpenAILLM(model="m", base_url=url, api_key="none"), input_batch_size=width)
        load >> ask
    print(len(pipeline.run(use_cache=False)["default"]["train"]))
