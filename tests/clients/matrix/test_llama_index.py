"""LlamaIndex before a target of each kind, by its class for servers that are like OpenAI's. It needs an older OpenAI SDK than the other
suites, so it has packages of its own."""

import asyncio

import openai
import pytest
from asks import ARGUMENTS, PLAY, QUESTION, RESULT, Play
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from upstream import TEXT
from vendors import REASON

CLIENT = ("llama-index-llms-openai-like", "LlamaIndex, OpenAILike")


@pytest.fixture
def llm(stage):
    def named(model):
        where = {"api_base": f"{stage.url}/v1", "api_key": stage.key, "timeout": 20, "max_retries": 0}
        return OpenAILike(model=model, is_chat_model=True, is_function_calling_model=True, should_use_structured_outputs=True, **where)

    return named


def weather(city: str, unit: str) -> str:
    """Tells the weather of a city."""
    return RESULT


TOOL = FunctionTool.from_defaults(weather)


def test_a_whole_answer(llm, target):
    answer = llm(target).chat([ChatMessage(role=MessageRole.SYSTEM, content="Be brief."), ChatMessage(QUESTION)])
    assert (answer.message.content, answer.raw.usage.prompt_tokens) == (TEXT, 7)
    assert llm(target).complete(QUESTION).text == TEXT


def test_a_stream(llm, target):
    assert "".join(chunk.delta for chunk in llm(target).stream_chat([ChatMessage(QUESTION)])) == TEXT


def test_a_tool_and_its_result(llm, target):
    model = llm(target)
    answer = model.chat_with_tools([TOOL], user_msg=QUESTION, tool_required=True)
    [call] = model.get_tool_calls_from_response(answer)
    assert (call.tool_name, call.tool_kwargs) == ("weather", ARGUMENTS)
    result = ChatMessage(role=MessageRole.TOOL, content=RESULT, additional_kwargs={"tool_call_id": call.tool_id})
    last = model.chat_with_tools([TOOL], chat_history=[ChatMessage(QUESTION), answer.message, result])
    assert last.message.content == TEXT


def test_structured_output(llm, target):
    assert llm(target).as_structured_llm(Play).complete(QUESTION).raw == PLAY


def test_several_at_once_async(llm, target):
    async def all_of_them():
        return await asyncio.gather(*(llm(target).acomplete(QUESTION) for _ in range(5)))

    assert [answer.text for answer in asyncio.run(all_of_them())] == [TEXT] * 5


def test_what_the_target_refuses(llm, target):
    with pytest.raises(openai.BadRequestError, match=REASON):
        llm(f"{target}-refuses").complete(QUESTION)


def test_a_stream_that_is_cut(llm, target):
    with pytest.raises(openai.APIError):
        list(llm(f"{target}-cut").stream_chat([ChatMessage(QUESTION)]))
