"""The endpoints beside chat, as OpenAI's SDK asks them of a gateway that rehearses: what comes back is held to the SDK's own
models, strictly."""

import pytest
from gateway import KEY
from openai import BadRequestError
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, ModerationCreateResponse
from openai.types.audio import Transcription, TranscriptionVerbose

MODEL = "gpt-4o"


@pytest.fixture
def client(rehearsing):
    return rehearsing.client(api_key="anything")


def strictly(model, raw):
    """The answer's body, held to the letter of its model."""
    text = raw.text() if callable(raw.text) else raw.text
    return model.model_validate_json(text, strict=True)


def test_embeddings(client):
    answer = client.embeddings.create(model=MODEL, input=["the cat sat", "the cat sat", "prices rose"], dimensions=8)
    first, same, other = (row.embedding for row in answer.data)
    assert len(first) == 8 and first == same != other
    assert answer.usage.total_tokens == 8
    raw = client.embeddings.with_raw_response.create(model=MODEL, input="the cat", encoding_format="float")
    assert strictly(CreateEmbeddingResponse, raw).data[0].embedding
    assert raw.headers["x-stagedoor-provider"] == "rehearsal" and raw.headers["x-request-id"]


def test_completions_whole_and_streamed(client):
    raw = client.completions.with_raw_response.create(model=MODEL, prompt="Once upon", max_tokens=4)
    answer = strictly(Completion, raw)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("This is a rehearsal:", "length")
    chunks = list(client.completions.create(model=MODEL, prompt="Once upon", max_tokens=4, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "This is a rehearsal:"
    assert chunks[-1].usage.completion_tokens == 4
    with client.completions.with_streaming_response.create(model=MODEL, prompt="Once", stream=True) as response:
        data = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    for chunk in data:
        # OpenAI's own pieces have null where its model has none: only the end has a reason.
        Completion.model_validate_json(chunk.replace('"finish_reason":null', '"finish_reason":"stop"'), strict=True)


def test_moderations(client):
    raw = client.moderations.with_raw_response.create(model=MODEL, input=["a flower", "sheer violence"])
    results = strictly(ModerationCreateResponse, raw).results
    assert [result.flagged for result in results] == [False, True] and results[1].categories.violence


def test_images(client):
    raw = client.images.with_raw_response.generate(model=MODEL, prompt="a cat", n=2)
    answer = strictly(ImagesResponse, raw)
    assert len(answer.data) == 2 and answer.data[0].b64_json and answer.usage.total_tokens == 4


def test_speech_whole_and_as_it_comes(client):
    spoken = client.audio.speech.create(model=MODEL, voice="alloy", input="Two words", response_format="wav")
    assert spoken.content.startswith(b"RIFF")
    with client.audio.speech.with_streaming_response.create(model=MODEL, voice="alloy", input="Two words") as response:
        assert response.headers["content-type"] == "audio/mpeg"
        assert b"".join(response.iter_bytes()).startswith(b"\xff\xfb")


def test_transcriptions_in_every_format(client):
    sound = ("sound.mp3", b"\xff\xfb\x90\x64\r\n--\r\n" * 1000)
    raw = client.audio.transcriptions.with_raw_response.create(model=MODEL, file=sound, language="en", prompt="theatre")
    assert "10000 bytes" in strictly(Transcription, raw).text
    raw = client.audio.transcriptions.with_raw_response.create(model=MODEL, file=sound, response_format="verbose_json", timestamp_granularities=["word"])
    assert strictly(TranscriptionVerbose, raw).duration == 1.0
    assert client.audio.transcriptions.create(model=MODEL, file=sound, response_format="vtt").startswith("WEBVTT")


def test_what_no_target_offers_is_a_clear_refusal(open_door):
    client = open_door("claude").client(max_retries=0)
    with pytest.raises(BadRequestError, match="can't carry a request for embeddings") as raised:
        client.embeddings.create(model="chat", input="words")
    assert raised.value.code == "no_fitting_target"
    with pytest.raises(BadRequestError, match="can't carry a request for a transcription"):
        client.audio.transcriptions.create(model="chat", file=("a.mp3", b"sound"))
    assert KEY not in str(raised.value)
