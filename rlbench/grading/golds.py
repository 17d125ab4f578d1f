r"""Golds as they stand in files of problems and of outputs: read as what was meant, or refused.

Two things are known of golds that nothing else tells. GSM8K's own files have a worked solution in the gold's place,
with the answer behind ``####``. And a LaTeX command that was written with one backslash in JSON is another character:
``"\frac"`` is a form feed and ``rac``, ``"\times"`` a tab and ``imes``. No grader could tell that from a wrong gold, so
it would cost every answer to that problem.

For another such mistake: a function here that returns the gold or raises ValueError, called by ``gold_of``.
"""

from __future__ import annotations

import re
import unicodedata

from rlbench.grading.boxed import last_boxed
from rlbench.jsonl import Row

# The JSON escapes of one letter, and the commands of LaTeX and its mathematical packages that begin with that letter.
_ESCAPED = {
    "\b": ("b", "a backspace"),
    "\f": ("f", "a form feed"),
    "\n": ("n", "a line break"),
    "\r": ("r", "a carriage return"),
    "\t": ("t", "a tab"),
}
_COMMANDS = {
    "b": "backcong backepsilon backprime backsim backsimeq backslash bar barwedge bbalpha bbk bbox because begin "
    "beta beth between bf bfseries big bigcap bigcirc bigcup bigg biggl biggm biggr bigl bigm bigodot bigoplus "
    "bigotimes bigr bigskip bigsqcup bigstar bigtimes bigtriangledown bigtriangleup biguplus bigvee bigwedge "
    "binom blacklozenge blacksquare blacktriangle blacktriangledown blacktriangleleft blacktriangleright bm "
    "bmatrix bmod boldmath boldsymbol bot bowtie boxdot boxed boxminus boxplus boxslash boxtimes bra brace "
    "brack braket breve bullet bumpeq",
    "f": "fallingdotseq fbox fboxrule fboxsep fcolorbox fill fint fintop flat flushleft flushright fnsymbol "
    "footnote footnotesize forall frac frak framebox frown func",
    "n": "nLeftarrow nLeftrightarrow nRightarrow nVDash nVdash nabla natural naturals ncong ne nearrow neg "
    "negmedspace negthickspace negthinspace neq newcommand newline nexists ngeq ngeqq ngeqslant ngtr ni "
    "nicefrac nleftarrow nleftrightarrow nleq nleqq nleqslant nless nmid nobreak nolimits nonumber norm "
    "normalfont normalsize not notag notin nparallel nprec npreceq nrightarrow nshortmid nshortparallel nsim "
    "nsubset nsubseteq nsubseteqq nsucc nsucceq nsupset nsupseteq nsupseteqq ntriangleleft ntrianglelefteq "
    "ntriangleright ntrianglerighteq nu nvDash nvdash nwarrow",
    "r": "rVert raggedleft raggedright raise raisebox rangle rarr rationals rbrace rbrack rbracket rceil real reals "
    "red ref renewcommand restriction rfloor rgroup rhd rho right rightangle rightarrow rightarrowtail "
    "rightharpoondown rightharpoonup rightleftarrows rightleftharpoons rightrightarrows rightsquigarrow "
    "rightthreetimes risingdotseq rm rmfamily rmoustache root rotatebox rparen rrbracket rtimes rule rvert",
    "t": "tabular tan tanh tau tbinom text textasciicircum textbackslash textbar textbf textcircled textcolor "
    "textdegree textdollar textemdash textendash textgreater textit textless textmd textnormal "
    "textquotedblleft textquotedblright textquoteleft textquoteright textrm textsc textsf textsl textstyle "
    "textsubscript textsuperscript texttt textup tfrac tg therefore theta thetasym thickapprox thicksim "
    "thickspace thinspace tilde times tiny to top trace triangle triangledown triangleleft trianglelefteq "
    "triangleq triangleright trianglerighteq ttfamily twoheadleftarrow twoheadrightarrow",
}
_REST = {
    letter: frozenset(name[1:] for name in names.split() if name[0] == letter) for letter, names in _COMMANDS.items()
}
_BROKEN = re.compile(r"([\b\f\n\r\t])([A-Za-z]+)")

_HASHES = re.compile(r"(?<!#)####(?!#)")
_THOUSANDS = re.compile(r"[-+]?(?:\\?\$)?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def gold_of(row: Row, key: str) -> str:
    """The gold under a key of a line: text, or a number as it is written.

    Raises:
        UserError: it is something else, empty, or not what its writer can have meant; names file, line and key.
    """
    if isinstance(row.values[key], list):
        raise row.wrong(key, 'must be text or a number, not a list; several answers are one text: "1, 2"')
    try:
        return checked(after_hashes(row.text(key, numbers=True)))
    except ValueError as error:
        raise row.wrong(key, str(error)) from None


def after_hashes(gold: str) -> str:
    """The answer of a gold that is a worked solution as GSM8K has them (``... #### 1,234`` is 1234), else the gold.

    Raises:
        ValueError: it says which answer is meant twice, or not at all.
    """
    _, *parts = _HASHES.split(gold)
    if not parts:
        return gold
    answer = parts[-1].strip()
    reasons = {
        "stands there more than once": len(parts) > 1,
        "no answer stands behind it": not answer,
        "more than one line stands behind it": "\n" in answer,
        "there is a box too": last_boxed(gold) is not None,
    }
    if reason := next((reason for reason, holds in reasons.items() if holds), None):
        raise ValueError(f"has GSM8K's mark #### and {reason}; write the answer alone")
    return answer.replace(",", "") if _THOUSANDS.fullmatch(answer) else answer


def checked(gold: str) -> str:
    """The gold, if no character of it can come from a backslash that was lost.

    Raises:
        ValueError: one can, or is a control character that no text has.
    """
    # Of a worked solution only the box is the answer; lines of its prose may begin as they like.
    if broken := broken_command(gold, "bf") or broken_command(last_boxed(gold) or gold, "nrt"):
        raise ValueError(broken)
    for character in gold:
        if unicodedata.category(character) == "Cc" and character not in "\n\r\t":
            meant = _ESCAPED.get(character)
            hint = f"; in JSON a backslash is written twice, \\\\{meant[0]}..." if meant else ""
            raise ValueError(f"holds the control character U+{ord(character):04X}, which no answer has{hint}")
    return gold


def broken_command(text: str, letters: str = "bfnrt", at_least: int = 0) -> str | None:
    r"""What to say of the first LaTeX command of a text that was written with one backslash in JSON; None without one.

    Args:
        letters: with which the commands begin; a line break before ``e`` is ``\ne`` in a gold, and may be prose.
        at_least: letters that have to follow the first one.
    """
    for character, rest in _BROKEN.findall(text):
        letter, name = _ESCAPED[character]
        if letter in letters and len(rest) >= at_least and rest in _REST[letter]:
            return (
                f"holds {name} before {rest!r}: in JSON the backslash of a command is written twice, \\\\{letter}{rest}"
            )
    return None
