"""The pre-tokenizer kinds that llama.cpp knows by name (`tokenizer.ggml.pre`), one row for each.

Names, and the rules that come with them, are those of ggml-org/llama.cpp `src/llama-vocab.cpp`
(`llama_vocab::impl::load`); `source` is the constant there. How each cuts text is a row of `splits`.
"""

from __future__ import annotations

from dataclasses import dataclass

from w2e_bridge.tokenizers.splits import SPLITS, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTokenizer:
    """One kind.

    Attributes:
        names: the values of `tokenizer.ggml.pre` that mean it; the first is the one we write.
        split: name of its row in `splits`.
        source: `LLAMA_VOCAB_PRE_TYPE_…` in llama.cpp.
        ignore_merges: a word that is a token stays whole.
        add_bos: a BOS goes in front unless the file says otherwise.
        add_sep: so does a separator between two texts.
        clean_spaces: decoding takes the space before punctuation away.
        escape_whitespaces: spaces become U+2581 first.
    """

    names: tuple[str, ...]
    split: str
    source: str
    ignore_merges: bool = False
    add_bos: bool = False
    add_sep: bool = False
    clean_spaces: bool = True
    escape_whitespaces: bool = False

    @property
    def rule(self) -> Split:
        """The row that says how text is cut."""
        return SPLITS[self.split]


_LLAMA3_NAMES = (
    "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
    "jina-v5-nano",
)  # fmt: skip
_GPT2_NAMES = (
    "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0",
    "mellum", "modern-bert", "exaone4",
)  # fmt: skip

ROWS = (
    PreTokenizer(names=("default", ""), split="default", source="DEFAULT"),
    PreTokenizer(names=("minicpm5",), split="minicpm5", source="MINICPM5", ignore_merges=True),
    PreTokenizer(
        names=_LLAMA3_NAMES, split="llama3", source="LLAMA3", ignore_merges=True, add_bos=True
    ),
    PreTokenizer(
        names=("deepseek-llm",), split="deepseek-llm", source="DEEPSEEK_LLM", clean_spaces=False
    ),
    PreTokenizer(
        names=("deepseek-coder",),
        split="deepseek-coder",
        source="DEEPSEEK_CODER",
        clean_spaces=False,
    ),
    PreTokenizer(
        names=("deepseek-v3",), split="deepseek3", source="DEEPSEEK3_LLM", clean_spaces=False
    ),
    PreTokenizer(names=("spark2_5",), split="spark2.5", source="SPARK2_5", clean_spaces=False),
    PreTokenizer(
        names=("youtu",), split="youtu", source="YOUTU", clean_spaces=False, ignore_merges=True
    ),
    PreTokenizer(names=("falcon",), split="falcon", source="FALCON"),
    PreTokenizer(names=("mpt",), split="gpt2", source="MPT"),
    PreTokenizer(names=("starcoder",), split="starcoder", source="STARCODER"),
    PreTokenizer(names=_GPT2_NAMES, split="gpt2", source="GPT2"),
    PreTokenizer(names=("jais-2",), split="jais2", source="JAIS2"),
    PreTokenizer(
        names=("gemma4", "granite-embed-multi-311m"),
        split="lines",
        source="GEMMA4",
        escape_whitespaces=True,
        add_bos=True,
    ),
    PreTokenizer(
        names=("sarvam-moe",),
        split="lines",
        source="SARVAM_MOE",
        escape_whitespaces=True,
        clean_spaces=False,
    ),
    PreTokenizer(
        names=("roberta-bpe", "jina-v1-en", "jina-v2-code"),
        split="gpt2",
        source="GPT2",
        add_sep=True,
    ),
    PreTokenizer(names=("whitespace",), split="whitespace", source="WHITESPACE"),
    PreTokenizer(names=("refact",), split="starcoder", source="REFACT"),
    PreTokenizer(names=("command-r",), split="starcoder", source="COMMAND_R", clean_spaces=False),
    PreTokenizer(
        names=("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2"),
        split="qwen2",
        source="QWEN2",
        clean_spaces=False,
    ),
    PreTokenizer(names=("megrez",), split="qwen2", source="QWEN2"),
    PreTokenizer(names=("qwen35",), split="qwen35", source="QWEN35", clean_spaces=False),
    PreTokenizer(names=("stablelm2",), split="qwen2", source="STABLELM2"),
    PreTokenizer(names=("olmo",), split="gpt2", source="OLMO"),
    PreTokenizer(names=("dbrx",), split="llama3", source="DBRX"),
    PreTokenizer(names=("smaug-bpe",), split="llama3", source="SMAUG"),
    PreTokenizer(names=("poro-chat",), split="bloom", source="PORO", clean_spaces=False),
    PreTokenizer(names=("chatglm-bpe",), split="llama3", source="CHATGLM4"),
    PreTokenizer(names=("glm4", "glm5"), split="llama3", source="CHATGLM4", ignore_merges=True),
    PreTokenizer(names=("viking",), split="viking", source="VIKING", clean_spaces=False),
    PreTokenizer(names=("jais",), split="gpt2", source="JAIS"),
    PreTokenizer(
        names=("tekken",),
        split="tekken",
        source="TEKKEN",
        clean_spaces=False,
        ignore_merges=True,
        add_bos=True,
    ),
    PreTokenizer(names=("smollm",), split="starcoder", source="SMOLLM", clean_spaces=False),
    PreTokenizer(names=("codeshell",), split="starcoder", source="CODESHELL"),
    PreTokenizer(names=("bloom",), split="bloom", source="BLOOM"),
    PreTokenizer(names=("gpt3-finnish",), split="bloom", source="GPT3_FINNISH"),
    PreTokenizer(names=("exaone",), split="starcoder", source="EXAONE"),
    PreTokenizer(names=("exaone-moe",), split="exaone-moe", source="EXAONE_MOE"),
    PreTokenizer(
        names=("chameleon",),
        split="chameleon",
        source="CHAMELEON",
        add_bos=True,
        clean_spaces=False,
    ),
    PreTokenizer(names=("minerva-7b",), split="starcoder", source="MINERVA"),
    PreTokenizer(
        names=("gpt-4o", "llama4", "kanana2", "talkie"),
        split="gpt-4o",
        source="GPT4O",
        clean_spaces=False,
    ),
    PreTokenizer(names=("minimax-m2",), split="gpt-4o", source="MINIMAX_M2", clean_spaces=False),
    PreTokenizer(
        names=("granite-embed-multi-97m",),
        split="granite-multilingual",
        source="GRANITE_EMB_MULTI",
        clean_spaces=False,
        ignore_merges=True,
    ),
    PreTokenizer(
        names=("tiny_aya", "cohere2moe"), split="tiny-aya", source="TINY_AYA", clean_spaces=False
    ),
    PreTokenizer(names=("superbpe",), split="superbpe", source="SUPERBPE", clean_spaces=False),
    PreTokenizer(names=("trillion",), split="gpt2", source="TRILLION", clean_spaces=False),
    PreTokenizer(
        names=("granite-docling",), split="gpt2", source="GRANITE_DOCLING", clean_spaces=False
    ),
    PreTokenizer(
        names=("bailingmoe", "bailingmoe2", "llada-moe"),
        split="bailingmoe",
        source="BAILINGMOE",
        clean_spaces=False,
    ),
    PreTokenizer(
        names=("seed-coder",), split="seed-coder", source="SEED_CODER", clean_spaces=False
    ),
    PreTokenizer(names=("hunyuan",), split="qwen2", source="HUNYUAN", clean_spaces=False),
    PreTokenizer(
        names=("hunyuan-dense",), split="deepseek3", source="HUNYUAN_DENSE", clean_spaces=False
    ),
    PreTokenizer(names=("hy_v4",), split="deepseek3", source="HY_V4", clean_spaces=False),
    PreTokenizer(names=("joyai-llm",), split="deepseek3", source="JOYAI_LLM", clean_spaces=False),
    PreTokenizer(names=("kimi-k2",), split="kimi-k2", source="KIMI_K2", clean_spaces=False),
    PreTokenizer(names=("ufakzeka",), split="ufakzeka", source="UFAKZEKA", clean_spaces=False),
    PreTokenizer(names=("grok-2",), split="qwen2", source="GROK_2", clean_spaces=False),
    PreTokenizer(names=("afmoe",), split="afmoe", source="AFMOE", clean_spaces=False),
    PreTokenizer(names=("laguna",), split="laguna", source="LAGUNA", clean_spaces=False),
    PreTokenizer(names=("solar-open",), split="qwen2", source="SOLAR_OPEN", clean_spaces=False),
    PreTokenizer(names=("mellum2",), split="starcoder", source="MELLUM2"),
)

BY_NAME = {name: row for row in ROWS for name in row.names}
"""The row of each name."""


def pre_tokenizer(name: str) -> PreTokenizer | None:
    """The row of a name of `tokenizer.ggml.pre`, or None where llama.cpp does not know it either."""
    return BY_NAME.get(name)
