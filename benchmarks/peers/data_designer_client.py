"""NeMo Data Designer: one text column; its health check is off."""

import os

os.environ.update(NEMO_TELEMETRY_ENABLED="false", DATA_DESIGNER_TELEMETRY="0")

import data_designer.config as dd
import pandas
from data_designer.interface import DataDesigner
from questions import given, questions

url, rows, width, folder = given()
provider = dd.ModelProvider(name="local", endpoint=url, provider_type="openai", api_key="none")
model = dd.ModelConfig(
    alias="m",
    model="m",
    provider="local",
    skip_health_check=True,
    inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=width),
)
builder = dd.DataDesignerConfigBuilder(model_configs=[model])
builder.with_seed_dataset(dd.DataFrameSeedSource(df=pandas.DataFrame({"question": questions(rows)})))
builder.add_column(dd.LLMTextColumnConfig(name="answer", prompt="{{ question }}", model_alias="m"))
made = DataDesigner(artifact_path=folder, model_providers=[provider]).create(builder, num_records=rows)
print(len(made.load_dataset()))
