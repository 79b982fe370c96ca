"""SDG Hub: an LLMChatBlock in async mode over a data frame."""

import pandas
from questions import given, questions
from sdg_hub.core.blocks import LLMChatBlock

url, rows, width, folder = given()
block = LLMChatBlock(
    block_name="answer",
    input_cols="messages",
    output_cols="answer",
    model="hosted_vllm/m",
    api_base=url,
    api_key="none",
    async_mode=True,
)
frame = pandas.DataFrame({"messages": [[{"role": "user", "content": text}] for text in questions(rows)]})
made = block.generate(frame, _flow_max_concurrency=width)
made.to_json(f"{folder}/rows.jsonl", orient="records", lines=True)
print(len(made))
