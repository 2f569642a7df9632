r"""How text is cut into words before its bytes are merged: a row of regular expressions for each rule.

`expressions` are llama.cpp's own, character for character (ggml-org/llama.cpp `src/llama-vocab.cpp`,
`llm_tokenizer_bpe`; where a rule is code there, the expression that switches it on: `src/unicode.cpp`).
They are applied one after the other, each to the pieces that the one before left; matches and what lies
between them both become pieces.

llama.cpp reads them in its own way (`unicode_regex_split`): with a Unicode category in it, an
expression sees each character as its category, all letters alike (`\p{Lu}` is `\p{L}`); without one, it
sees every space beyond ASCII as a vertical tab. `regexes` are what the Oniguruma engine of the
`tokenizers` library has to be given to cut in the same places; None where that is `expressions`.
Characters that Unicode 16 added are letters to one and nothing to the other.

`reader` is for onnxruntime-extensions, whose own reader knows some expressions by their text and hands
the others to `std::regex` on bytes, which knows no categories, loses its place after text beyond ASCII
and overflows its stack on long words (`operators/tokenizer/bpe_utils.hpp`): one expression out of those
it knows that cuts nearly alike, or None where it reads `patterns` themselves as they are meant. Each
covers every character, see `bpe`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One rule.

    Attributes:
        name: ours.
        expressions: llama.cpp's.
        regexes: for Oniguruma, where they have to differ.
        reader: for onnxruntime-extensions, where it can only come near.
        byte_level: words become bytes in GPT-2's alphabet before merging.
        proof: how the row was proved: "vocabulary" (ids of real vocabularies), "splits" (cuts the same
            as llama.cpp's on recorded texts), or "" where it is not.
    """

    name: str
    expressions: tuple[str, ...]
    regexes: tuple[str, ...] | None = None
    reader: str | None = None
    byte_level: bool = True
    proof: str = "splits"

    @property
    def patterns(self) -> tuple[str, ...]:
        """The expressions for the `tokenizers` library."""
        return self.expressions if self.regexes is None else self.regexes


_SUFFIX = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHER = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_OTHER_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"
_DIGITS3 = r"\p{N}{1,3}"

_GPT2_OPEN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_GPT2 = _GPT2_OPEN + r"|\s+"
"""The same cuts as the open one: what it leaves over is always one single space character."""
_LLAMA3 = rf"{_SUFFIX}|{_WORD}|{_DIGITS3}|{_OTHER}|{_SPACES}"
_QWEN2 = rf"{_SUFFIX}|{_WORD}|{_DIGIT}|{_OTHER}|{_SPACES}"

_LOWER = r"((?=[\p{L}])([^A-Z]))"
_UPPER = r"((?=[\p{L}])([^a-z]))"
_START = r"[^\r\n\p{L}\p{N}]?"
_TEKKEN = (
    rf"{_START}{_UPPER}*{_LOWER}+|{_START}{_UPPER}+{_LOWER}*|{_DIGIT}|{_OTHER_SLASH}|{_SPACES}"
)
_GPT4O = (
    rf"{_START}{_UPPER}*{_LOWER}+{_SUFFIX}?|{_START}{_UPPER}+{_LOWER}*{_SUFFIX}?"
    rf"|{_DIGITS3}|{_OTHER_SLASH}|{_SPACES}"
)
_GRANITE = _GPT4O.replace(r"(?=[\p{L}])", r"(?=[\p{L}\p{M}])")
_HEAD = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_REST = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"{_START}{_HEAD}*{_REST}+{_SUFFIX}?|{_START}{_HEAD}+{_REST}*{_SUFFIX}?"
_UNCASED = rf"{_START}[\p{{L}}\p{{M}}]+{_SUFFIX}?"
_AYA = rf"|{_DIGITS3}|{_OTHER_SLASH}|{_SPACES}"
_YOUTU = rf"|{_DIGIT}|{_OTHER_SLASH}|{_SPACES}"

_BAILING_SUFFIX = "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
_EXAONE_WORDS = rf"{_START}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+"
_EXAONE_OTHER = r" ?[^\s\p{L}\p{N}]+[\r\n/]?"
_RUNS = "|".join(rf"\s{{{1 << power}}}(?!\S)" for power in range(9, 1, -1))

_SIGN_WORD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
_MARKED = "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
_DEEPSEEK3 = f"{_SIGN_WORD}|{_MARKED}[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
_SPARK = f"{_SIGN_WORD}|{_MARKED}|[\r\n]|\\s+(?!\\S)|\\s+"
_AFMOE = _DEEPSEEK3.replace("\r", r"\r").replace("\n", r"\n")

_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_BLOOM_SIGN = "\u2026|\u3002|\uff0c|\u3001|\u0964|\u06d4|\u060c"
_BLOOM_CHAR = f"(?!{_BLOOM_SIGN})[^(\\s|.,!?)]"
_BLOOM_WHOLE = f" ?(?:{_BLOOM_CHAR})+|(?:(?! ?(?:{_BLOOM_CHAR}))(?:{_BLOOM_SIGN}|[(\\s|.,!?)]))+"
"""The same cuts, said without characters beyond ASCII in a class, and what lies between said too."""
_FROM_RIGHT = r"\P{N}*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
"""Digits in threes counted from the right; what stands before them goes with their first group
(`unicode_regex_split_custom_afmoe`)."""
_HAN = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002ebef\U0002f800-\U0002fa1f"
)
"""`unicode_cpt_is_han`."""
_DEEPSEEK_LETTERS = (
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293"
    "\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c"
    "\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5"
    "\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59"
    "\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
    "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107"
    "\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee"
    "\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e"
    "\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f"
    "\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943]+"
)
_DEEPSEEK_SIGNS = "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
_DEEPSEEK_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_CJK_NO_SPACE = (
    "[\u0800-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u2fff"
    "\u3001-\u9fa5\uac00-\ud7ff]+"
)
"""`_DEEPSEEK_CJK` without the spaces among its characters, which llama.cpp never sees as such."""
_YOUTU_SCRIPTS = (
    "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c"
    "\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|" + _KANA
)
_AFMOE_SCRIPTS = (
    "[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf"
    "\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af"
    "\u1100-\u11ff]+"
)


_READ_SUFFIX = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_READ_CASED = f"{_START}{_HEAD}*{_REST}+{_READ_SUFFIX}?|{_START}{_HEAD}+{_REST}*{_READ_SUFFIX}?"
_READ_GPT4O = f"{_READ_CASED}|{_DIGITS3}|{_OTHER_SLASH}|{_SPACES}"
_READ_TEKKEN = (
    f"{_START}{_HEAD}*{_REST}+|{_START}{_HEAD}+{_REST}*|{_DIGIT}|{_OTHER_SLASH}|{_SPACES}"
)
_READ_APART = (
    rf"'s|'t|'re|'ve|'m|'ll|'d|{_DIGITS3}|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
    r"|[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
_READ_TOGETHER = rf"{_WORD}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
"""Longer words than the rule's: a vocabulary has no merges across the cuts it was trained with."""
_READ_SIGNS = (
    rf"{_DIGITS3}|{_SIGN_WORD}|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*"
    r"|\s*[\r\n]+|[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)

_ROWS = (
    Split(
        name="default",
        expressions=(r"[\p{P}\$\+<=>\^~\|]+", _GPT2_OPEN, r"\p{N}+", "[0-9][0-9][0-9]"),
        reader=_READ_APART,
    ),
    Split(name="llama3", expressions=(_LLAMA3,), proof="vocabulary"),
    Split(
        name="jais2",
        expressions=(
            rf"{_SUFFIX}|{_WORD}|{_DIGITS3}|{_OTHER}|\s*[\r\n]+|{_RUNS}|\s{{1,2}}(?!\S)|\s{{1}}",
        ),
        reader=_LLAMA3,
    ),
    Split(
        name="deepseek-llm",
        expressions=(
            "[\r\n]",
            _DEEPSEEK_LETTERS,
            _DEEPSEEK_SIGNS,
            r"\s+$",
            _DEEPSEEK_CJK,
            r"\p{N}+",
        ),
        regexes=(
            "[\r\n]",
            _DEEPSEEK_LETTERS,
            _DEEPSEEK_SIGNS.replace("\u3000", "\u3001"),
            r"\s+\z",
            _CJK_NO_SPACE,
            r"\p{N}+",
        ),
        proof="vocabulary",
        reader=_READ_TOGETHER,
    ),
    Split(name="deepseek3", expressions=(_DIGITS3, _KANA, _DEEPSEEK3)),
    Split(
        name="spark2.5",
        expressions=(_DIGITS3, _KANA, _SPARK, _DIGIT),
        reader=_READ_SIGNS,
    ),
    Split(
        name="youtu",
        expressions=(_YOUTU_SCRIPTS, _CASED + _YOUTU),
        regexes=(_YOUTU_SCRIPTS, _UNCASED + _YOUTU),
        reader=_READ_GPT4O.replace(_DIGITS3, _DIGIT),
    ),
    Split(
        name="deepseek-coder",
        expressions=("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CJK, r"\p{N}"),
        regexes=("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_NO_SPACE, r"\p{N}"),
        proof="vocabulary",
        reader=_READ_TOGETHER,
    ),
    Split(
        name="falcon",
        expressions=(r"[\p{P}\$\+<=>\^~\|`]+", _GPT2_OPEN, "[0-9][0-9][0-9]"),
        proof="vocabulary",
        reader=_GPT2,
    ),
    Split(
        name="starcoder",
        expressions=(r"\p{N}", _GPT2_OPEN),
        proof="vocabulary",
        regexes=(_DIGIT, _GPT2),
    ),
    Split(
        name="gpt2",
        expressions=(_GPT2_OPEN,),
        proof="vocabulary",
        regexes=(_GPT2,),
    ),
    Split(name="qwen2", expressions=(_QWEN2,), proof="vocabulary"),
    Split(
        name="qwen35",
        expressions=(
            _QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(
                r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]"
            ),
        ),
        proof="vocabulary",
    ),
    Split(
        name="bloom",
        expressions=(_BLOOM,),
        regexes=(_BLOOM_WHOLE,),
    ),
    Split(
        name="viking",
        expressions=(_BLOOM, r"\p{N}"),
        regexes=(_BLOOM_WHOLE, _DIGIT),
    ),
    Split(
        name="tekken",
        expressions=(_TEKKEN,),
        reader=_READ_TEKKEN,
    ),
    Split(
        name="chameleon",
        expressions=(
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            _GPT2_OPEN,
        ),
        reader=_GPT2,
    ),
    Split(
        name="gpt-4o",
        expressions=(_GPT4O,),
        reader=_READ_GPT4O,
    ),
    Split(
        name="granite-multilingual",
        expressions=(_GRANITE,),
        reader=_READ_GPT4O,
    ),
    Split(
        name="tiny-aya",
        expressions=(r"\d{1,3}(?=(?:\d{3})*\b)", _CASED + _AYA),
        regexes=(_FROM_RIGHT, _UNCASED + _AYA),
        reader=_READ_GPT4O,
    ),
    Split(
        name="kimi-k2",
        expressions=(r"\p{Han}+",),
        regexes=(
            f"[{_HAN}]+|{_START}(?:(?![{_HAN}])\\p{{L}})+{_SUFFIX}?|{_DIGITS3}|{_OTHER}|{_SPACES}",
        ),
        reader=_LLAMA3,
    ),
    Split(
        name="superbpe",
        expressions=(r"\p{N}+", r"(?=(\d{3})+(?!\d))"),
        regexes=(r"\p{N}+", "(?=([0-9]{3})+(?![0-9]))"),
        reader=_LLAMA3,
    ),
    Split(
        name="bailingmoe",
        expressions=(rf"{_BAILING_SUFFIX}|{_WORD}|{_DIGIT}|{_OTHER}|\s*[\r\n]|\s+(?!\S)|\s+",),
        regexes=(_QWEN2,),
    ),
    Split(
        name="seed-coder",
        expressions=(rf"{_SUFFIX}|{_WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",),
        regexes=(f"{_SUFFIX}|{_WORD}|{_DIGIT}| ?[^\\s\\p{{L}}\\p{{N}}]+|{_SPACES}",),
    ),
    Split(name="ufakzeka", expressions=(f"{_WORD}|{_DIGIT}|{_OTHER}|{_SPACES}",)),
    Split(
        name="afmoe",
        expressions=(r"\p{AFMoE_digits}", _AFMOE_SCRIPTS, _AFMOE),
        regexes=(_FROM_RIGHT, _AFMOE_SCRIPTS, _AFMOE),
        reader=_READ_SIGNS,
    ),
    Split(
        name="laguna",
        expressions=(r"[^\n]+|[\n]+", _QWEN2),
        reader=_QWEN2,
    ),
    Split(
        name="exaone-moe",
        expressions=(
            rf"{_SUFFIX}|{_EXAONE_WORDS}|{_DIGIT}|{_EXAONE_OTHER}|\s*[\r\n]|\s+(?!\S)|\s+",
        ),
        reader=_QWEN2,
    ),
    Split(
        name="minicpm5",
        expressions=(
            _DIGITS3,
            rf"{_SUFFIX}|{_WORD}|\p{{N}}+|{_OTHER}|{_SPACES}",
        ),
        regexes=(_DIGITS3, _LLAMA3),
    ),
    Split(name="lines", expressions=(r"[^\n]+|[\n]+",), byte_level=False, proof="vocabulary"),
    Split(name="whitespace", expressions=(r"\S+",), byte_level=False, proof=""),
)

SPLITS = {row.name: row for row in _ROWS}
"""All rows by name."""
