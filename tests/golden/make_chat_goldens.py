#!/usr/bin/env python3
"""Writes tests/golden/chat/goldens.json: what apply_chat_template of transformers (5.x) renders, for the chat templates of
../shared/data/tokenizers, for the templates below, and for one-line snippets.  tests/test_jinja.c renders the same.

    make_chat_goldens.py      run from the repository root

    time            seconds since 1970 that strftime_now tells, in UTC
    conversations   name: messages as JSON text           tools: JSON text
    templates       name: text
    texts           what was rendered, each once
    cases           [template, conversation, variables as JSON text or null, tools?, generation prompt?, continue?, index]
                    index into texts; -1: apply_chat_template refuses
    snippets        [template, index]; variables are those of SNIPPET_VARIABLES, as JSON text in snippet_variables
"""
import datetime
import glob
import json
import os

import transformers.utils.chat_template_utils as hf

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SHARED = os.path.join(ROOT, "..", "shared", "data", "tokenizers")
NOW = datetime.datetime(2025, 7, 4, 15, 6, 7)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


hf.datetime = Clock

WEIRD = 'Zażółć "gęślą" \'jaźń\' <|im_end|>\n\t\\ {{ x }} {% raw %} 😀 </think> a&b\u2028'
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": 'Current "weather" – now', "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "A city"}, "unit": {"type": "string", "enum": ["c", "f"]},
        "days": {"type": "array", "items": {"type": "integer"}}, "limit": {"type": "number", "default": 1.5}},
        "required": ["city"]}}}
CALL = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {
    "city": "Łódź", "n": 1, "f": 2.50, "e": 1e-7, "t": True, "z": None, "l": [1, [2, {"a": "b"}]]}}}
TEXT_CALL = {"id": "call00002", "type": "function",
             "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def result(text):
    return {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": text}


CONVERSATIONS = {
    "one": [user("Hi")],
    "system": [system("Be kind. "), user(" Hello\n")],
    "turns": [system("Be kind."), user("a"), assistant("b"), user(WEIRD), assistant(" c\n"), user("d")],
    "thought": [user("q"), assistant("<think>\nhm\n</think>\n\nanswer"), user("more")],
    "reasoning": [user("q"), assistant("answer", reasoning_content="because"), user("more"),
                  assistant("x", thinking="y")],
    "call": [system("Be kind."), user("w?"), assistant("Let me see", tool_calls=[CALL]), result('{"t": 20}'),
             assistant("20"), user("thanks")],
    "calls": [user("w?"), {"role": "assistant", "content": None, "tool_calls": [CALL, TEXT_CALL]}, result("20"),
              result("21")],
    "prefill": [user("Count"), assistant("One, two, ")],
    "twice": [assistant("a"), assistant("b")],
    "parts": [user([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])],
    "empty": [user("")],
}
OPTIONS = [  # variables, tools, generation prompt, continue
    (None, False, True, False), (None, False, False, False), (None, True, True, False),
    ({"enable_thinking": False, "bos_token": "<b>"}, True, True, False), (None, False, False, True)]

# In the manner of templates in use, with what they need of the language.
TEMPLATES = {
    "macros": """{#- recursion, defaults, namespaces, block set, filters in blocks -#}
{%- macro kind(spec, name="", level=0) -%}
    {%- if spec.type is string and spec.type == "array" -%}
        {{- "list of " ~ kind(spec["items"], level=level + 1) -}}
    {%- elif spec.enum is defined -%}
        {{- spec.enum | map("tojson") | join(" | ") -}}
    {%- elif spec.type == "object" -%}
{
{% for key, value in spec.properties | dictsort %}
{{ "  " * (level + 1) }}{{ key }}{{ "" if key in (spec.required or []) else "?" }}: {{ kind(value, key, level + 1) }}
{%- if value.description %} // {{ value.description | upper }}{% endif %}
{%- if value.default is defined %} = {{ value.default }}{% endif %}{{ "," if not loop.last }}

{% endfor %}
{{ "  " * level }}}
    {%- else -%}
        {{- spec.type | default("any") -}}
    {%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- set ns = namespace(system="", turns=0, last=none) %}
{%- for message in messages if message.role == "system" %}{% set ns.system = ns.system + message.content %}{% endfor %}
{%- set now -%}
  Today: {{ strftime_now("%d %b %Y") }}, {{ strftime_now("%A %B %-d %H:%M") }}
{%- endset -%}
<|sys|>{{ now | trim }}{{ "\\n" + ns.system.strip() if ns.system else " (none)" }}
{% if tools %}
{% for tool in tools | selectattr("type", "equalto", "function") | map(attribute="function") %}
{{ tool.name }}: {{ kind(tool.parameters) }}
{{ tool | tojson(indent=2) }}
{% endfor %}
{% endif %}
{%- for message in messages | rejectattr("role", "in", ["system", "developer"]) %}
    {%- set ns.turns = ns.turns + 1 %}
    {%- if loop.previtem is defined and loop.previtem.role == message.role %}{% set ns.last = "same" %}{% endif %}
<|{{ message.role }} {{ loop.index }}/{{ loop.length }}|>
    {%- generation %}{% if message.content is string %}{{ message.content }}{% else %}
        {%- for part in message.content or [] %}{% if part.type != "text" %}{% continue %}{% endif %}{{ part.text }};{% endfor %}
    {%- endif %}{% endgeneration %}
    {%- for call in message.tool_calls or [] %}
        {%- set call = call.function if call.function is defined else call %}
{{ call.name }}({% if call.arguments is mapping %}{% for k, v in call.arguments.items() %}{{ k }}={{ v | tojson }}{{ ", " if not loop.last }}{% endfor %}
        {%- else %}{{ call.arguments }}{% endif %})
    {%- endfor %}<|end|>
{% endfor %}
{{- ns.turns }} {{ ns.last }}
{%- if add_generation_prompt %}
<|assistant|>
{% endif %}
""",
    "alternating": """{{ bos_token }}{% if messages[0]["role"] == "system" %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]["content"] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}
{%- for message in loop_messages %}
{%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}{{ raise_exception("Roles must alternate, got " + message.role) }}{% endif %}
{%- set content = "<<SYS>>\\n" + system_message + "\\n<</SYS>>\\n\\n" + message["content"] if loop.index0 == 0 and system_message != false else message["content"] %}
{%- if message["role"] == "user" %}{{ "[INST] " + content | trim + " [/INST]" }}{% elif message["role"] == "assistant" %}{{ " " + content | trim + " " + eos_token }}{% endif %}{% endfor %}""",
    "search": """{%- set found = namespace(at=-1) %}
{%- for m in messages[::-1] %}{% if m.role == "user" %}{% set found.at = messages | length - loop.index %}{% break %}{% endif %}{% endfor %}
{%- filter upper %}last user message: {{ found.at }}{% endfilter %}
{% for m in messages %}
  {% if loop.index0 == found.at %}* {% endif +%}
  {{- m.role[:4] ~ ":" ~ (m.content | string | replace("\\n", "/"))[-12:] }}
  {{+ "" }}
{% else %}
nothing
{% endfor %}
{%- if documents is not none and documents %}{{ documents | length }}{% endif %}
{{- "<think>\\n" if enable_thinking is not defined or enable_thinking else "<no>" }}""",
}

SNIPPET_VARIABLES = {
    "s": "Zażółć gęślą JAŹŃ", "t": "  two  words\n", "n": 7, "f": 0.1, "big": 1e22, "yes": True, "no": False, "nil": None,
    "l": [3, 1, 2], "e": [], "d": {"b": 1, "a": [1, 2.0, None, True, "x'y\"z\n"], "items": 5}, "w": ["b", "A", "c", "a"],
    "p": [{"n": "x", "v": 2, "g": {"h": 1}}, {"n": "Y", "v": 1}, {"n": "x", "v": 3, "g": {"h": None}}]}
# One a line; ⏎ and ␍ stand for line ends in a template.
SNIPPETS = r"""
{{ 1 + 2 * 3 - 4 }}|{{ 7 // 2 }}|{{ -7 // 2 }}|{{ 7 % 3 }}|{{ -7 % 3 }}|{{ 7 / 2 }}|{{ 2 ** 10 }}|{{ -n }}|{{ +n }}
{{ 1.0 }}|{{ f + 0.2 }}|{{ big }}|{{ 1e-5 }}|{{ 100.0 * 3 }}|{{ 1e15 }}|{{ 1e16 }}|{{ 123456.789 }}|{{ 5e-324 }}
{{ 2 ** -1 }}|{{ 7.5 // 2 }}|{{ -7.5 % 2 }}|{{ yes + 1 }}|{{ 1_000 + 1 }}
{{ 1 == 1.0 }}|{{ yes == 1 }}|{{ "1" == 1 }}|{{ nil == none }}|{{ [1, 2] == [1, 2] }}|{{ (1, 2) == [1, 2] }}|{{ {"a": 1} == {"a": 1.0} }}
{{ 1 < 2 < 3 }}|{{ 1 < 3 < 2 }}|{{ "a" < "b" }}|{{ [1, 2] < [1, 3] }}|{{ 1 <= 1 }}|{{ 2 >= 3 }}|{{ 1 != 2 }}
{{ "a" < 1 }}
{{ 1 in l }}|{{ 9 not in l }}|{{ "ż" in s }}|{{ "b" in d }}|{{ "x" in missing }}|{{ none in [none] }}
{{ 1 in "1" }}
{{ not 0 }}|{{ not "" }}|{{ e or "x" }}|{{ l and "x" }}|{{ nil or no }}|{{ yes and nil }}
{{ "a" if yes else "b" }}|{{ "a" if no else "b" if no else "c" }}|{{ "a" if no }}|
{{ "a" ~ 1 ~ none ~ true ~ 1.5 ~ [1] ~ missing }}|{{ "x" * 3 }}|{{ [1] * 2 }}|{{ [1] + [2] }}|{{ "a" "b" 'c' }}
{{ "a" + 1 }}
{{ missing }}|{{ missing.x }}
{{ missing[0] }}
{{ missing() }}
{{ missing + 1 }}
{{ nil.x }}|{{ n.x }}|{{ d.zzz }}|{{ d["zzz"] }}|{{ l[9] }}|{{ s[99] }}|{{ l["x"] }}
{{ l[0] }}|{{ l[-1] }}|{{ s[1] }}|{{ s[-2] }}|{{ d.b }}|{{ d["b"] }}|{{ p[0].g.h }}|{{ p.0.n }}|{{ d["items"] }}
{{ l[1:] }}|{{ l[:-1] }}|{{ l[::-1] }}|{{ l[::2] }}|{{ l[5:] }}|{{ l[-2:] }}|{{ l[2:0:-1] }}|{{ (1, 2, 3)[1:] }}
{{ s[:4] }}|{{ s[-4:] }}|{{ s[::-1] }}|{{ s[2:8:3] }}|{{ ""[1:] }}|{{ s[none:2] }}
{{ l }}|{{ d }}|{{ (1,) }}|{{ () }}|{{ {} }}|{{ [none, true, 1.0, "a'b", 'a"b', "\t\u2028\x7fé"] }}
{{ 'it\'s \x41 \u00e9 \q \\' }}|{{ "a\nb" }}
{{ d | tojson }}|{{ d | tojson(indent=2) }}|{{ [] | tojson(indent=4) }}|{{ {} | tojson(indent=1) }}
{{ "é\"\\/\u2028\u0001\x7f😀" | tojson }}|{{ "é😀\x7f" | tojson(ensure_ascii=true) }}|{{ {"b": 1, "a": 2} | tojson(sort_keys=true) }}
{{ [1, 2] | tojson(separators=(",", ":")) }}|{{ {1: 2, none: 3, true: 4} | tojson }}|{{ [1.0, 1e30, -0.0] | tojson }}
{{ missing | tojson }}
{{ l | map("string") | tojson }}
{{ s | length }}|{{ l | length }}|{{ d | length }}|{{ missing | length }}|{{ l | count }}
{{ n | length }}
{{ t | trim }}|{{ "xxaxx" | trim("x") }}|{{ s | upper }}|{{ s | lower }}|{{ s | capitalize }}|{{ "hello wORLD-foo bar's" | title }}|{{ "straße" | upper }}
{{ t.strip() }}|{{ t.lstrip() }}|{{ t.rstrip() }}|{{ "xyax".strip("xy") }}|{{ "\n\na\n".lstrip("\n") }}|{{ "\u00a0a\u3000".strip() }}|
{{ t.split() }}|{{ "a,b,,c".split(",") }}|{{ "a,b,c".split(",", 1) }}|{{ "a b  c d".split(none, 2) }}|{{ "".split() }}|{{ "".split(",") }}|{{ "a-b-c".rsplit("-", 1) }}
{{ "abc".startswith("ab") }}|{{ "abc".endswith(("x", "c")) }}|{{ "a.b.a".replace("a", "c") }}|{{ "aaa".replace("a", "b", 2) }}|{{ "abc".replace("", "-") }}
{{ "hello wORLD's".title() }}|{{ "hELLO".capitalize() }}|{{ "A".lower() ~ "b".upper() }}|{{ "a\nb\r\nc".splitlines() }}|{{ "-".join(w) }}
{{ "banana".find("an") }}|{{ "banana".rfind("an") }}|{{ "banana".find("x") }}|{{ "banana".count("a") }}|{{ "12".isdigit() }}|{{ "" .isdigit() }}
{{ "prefix-x".removeprefix("prefix-") }}|{{ "x.txt".removesuffix(".txt") }}
{{ d.get("b") }}|{{ d.get("zz") }}|{{ d.get("zz", "dflt") }}|{{ d.keys() | list }}|{{ d.items() | list }}|{{ d.values() | list }}
{{ d.pop("b") }}
{{ l.append(1) }}
{{ l | join }}|{{ l | join(", ") }}|{{ p | join("/", attribute="n") }}|{{ s | join("-") }}|{{ missing | join }}
{{ l | first }}|{{ l | last }}|{{ e | first }}|{{ s | first }}|{{ l | sum }}|{{ p | sum(attribute="v") }}|{{ l | max }}|{{ w | min }}|{{ [1, 2.5] | sum }}
{{ l | sort }}|{{ l | sort(reverse=true) }}|{{ w | sort }}|{{ w | sort(case_sensitive=true) }}|{{ p | sort(attribute="v") | map(attribute="v") | list }}
{{ [1, "a"] | sort }}
{{ d | dictsort | map("first") | list }}|{{ {"b": 1, "A": 2} | dictsort }}|{{ {"b": 1, "A": 2} | dictsort(true) }}|{{ {"b": 1, "a": 2} | dictsort(by="value", reverse=true) }}
{{ w | unique | list }}|{{ ["a", "A", "b"] | unique | list }}|{{ p | unique(attribute="n") | map(attribute="v") | list }}|{{ l | reverse | list }}|{{ s | reverse }}
{{ w | map("upper") | list }}|{{ p | map(attribute="g.h") | list }}|{{ p | map(attribute="q", default="-") | list }}|{{ [[1, 2], [3]] | map("join", "+") | list }}
{{ [1, 0, none, "x"] | select | list }}|{{ [1, 2, 3] | select("odd") | list }}|{{ [1, 2, 3] | reject("gt", 2) | list }}
{{ p | selectattr("g") | list | length }}|{{ p | selectattr("g", "defined") | list | length }}|{{ p | rejectattr("n", "equalto", "x") | map(attribute="v") | list }}|{{ p | selectattr("n", "in", ["Y"]) | map(attribute="v") | list }}
{{ "yes" if e | select | first else "no" }}|{{ "true" if e | select else "false" }}|{{ none | map("upper") | list }}
{{ missing | default("x") }}|{{ "" | default("x") }}|{{ "" | default("x", true) }}|{{ nil | d("x") }}|{{ missing | default }}|{{ no | default("x", boolean=true) }}
{{ "12" | int }}|{{ " 12 " | int }}|{{ "x" | int }}|{{ "x" | int(3) }}|{{ "3.7" | int }}|{{ 3.9 | int }}|{{ -3.9 | int }}|{{ "1e3" | float }}|{{ "x" | float }}|{{ n | float }}|{{ yes | int }}
{{ -3 | abs }}|{{ 3.14159 | round(2) }}|{{ 2.5 | round }}|{{ 7 | round }}|{{ n | string ~ "x" }}
{{ "a\nb\n\nc" | indent }}|{{ "a\nb" | indent(2, first=true) }}|{{ "a\n\nb" | indent(2, blank=true) }}|{{ "a\nb" | indent("> ") }}
{{ "<a>" | safe + "<b>" }}|{{ "<a href='x'>&\"" | escape }}|{{ "<a>" | safe ~ "<b>" }}|{{ ("<a>" | safe).strip() + "&" }}
{{ "a-b" | replace("-", "+") }}|{{ 121 | replace(1, 3) }}|{{ "aaa" | replace("a", "b", 2) }}|{{ d | items | list }}|{{ missing | items | list }}
{{ s | list | length }}|{{ "ab" | list }}|{{ d | list }}
{{ n is number }}|{{ yes is number }}|{{ n is integer }}|{{ yes is integer }}|{{ f is float }}|{{ yes is boolean }}|{{ yes is true }}|{{ n is true }}|{{ no is false }}
{{ s is string }}|{{ l is iterable }}|{{ s is iterable }}|{{ n is iterable }}|{{ d is mapping }}|{{ l is mapping }}|{{ l is sequence }}|{{ d is sequence }}|{{ s is sequence }}|{{ missing is iterable }}|{{ missing is sequence }}
{{ nil is none }}|{{ missing is none }}|{{ missing is defined }}|{{ missing is undefined }}|{{ d.zz is defined }}|{{ d.items is defined }}|{{ range is callable }}|{{ s is callable }}
{{ 3 is odd }}|{{ 4 is even }}|{{ 9 is divisibleby 3 }}|{{ 3 is eq 3 }}|{{ 3 is ne(3) }}|{{ 3 is lt 4 }}|{{ 3 is ge 4 }}|{{ "x" is in ["x"] }}|{{ 1 is not in l }}|{{ "ab" is lower }}|{{ "AB" is upper }}
{{ n is not none and n is defined }}|{{ not n is none }}|{{ (l | map("string") | list) is sequence }}|{{ l | map("string") is sequence }}
{{ range(3) | list }}|{{ range(2, 5) | list }}|{{ range(5, 0, -2) | list }}|{{ range(0) | list }}
{{ range(10000000) | list }}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}|{% for k in d %}{{ k }}{% endfor %}|{% for c in "aż" %}{{ c }},{% endfor %}|{% for x in missing %}x{% else %}none{% endfor %}
{% for i in nil %}{% endfor %}
{% for a, b in [[1, 2], (3, 4)] %}{{ a }}{{ b }}{% endfor %}|{% for i in [1, 2, 3, 4] if i % 2 %}{{ i }}{{ loop.last }}{% endfor %}|{% for i in [] if i %}{% else %}else{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% for i in [1, 2, 3, 4, 5] %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in [1, 2] %}{% for k in [3, 4] %}{{ loop.depth }}{{ k }}{% if k == 3 %}{% break %}{% endif %}{% endfor %}{{ loop.index }}{% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 10 %}{{ x }},{% endfor %}{{ x }}|{% if yes %}{% set x = 5 %}{% endif %}{{ x }}
{% set ns = namespace(x=1, y="a") %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}
{% set a, b = 1, [2, 3] %}{{ a }}{{ b }}|{% set c = 1, 2 %}{{ c }}|{% set t2 %}a{{ n }}{% set inner = 3 %}{% endset %}{{ t2 }}{{ inner }}|{% set u | upper | trim %} x {% endset %}{{ u }}
{% set d.x = 1 %}
{% macro m(a, b=2, c=a) %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}{{ m("x") | upper }}
{% macro m(a) %}{{ a }}{{ y }}{% endmacro %}{% set y = 3 %}{{ m(1) }}{% set y = 4 %}{{ m(2) }}{% for y in [5] %}{{ m(3) }}{% endfor %}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(zz=2) }}
{% macro f(k) %}{{ k if k < 2 else f(k - 1) ~ k }}{% endmacro %}{{ f(5) }}
{% filter upper %}a{{ s }}{% set q = 1 %}{% endfilter %}{{ q }}|{% filter replace("a", "b") | trim %} aaa {% endfilter %}|{% generation %}{% set g = 1 %}x{% endgeneration %}{{ g }}
{% if no %}a{% elif n == 7 %}b{% else %}c{% endif %}{% if e %}x{% endif %}{% if missing %}y{% endif %}
{# c1 #}a{#- c2 -#} b{# {{ x }} #}|{% raw %}{{ x }}{% if %}{% endraw %}|{%- raw -%} y {%- endraw -%} z
  {% if yes %}  ⏎  a⏎  {% endif %}⏎b
a⏎   {%- if yes %}⏎  b   {%- endif %}⏎⏎ c {{- 1 -}} ⏎ d {{ 2 }}⏎ e
{% if yes +%}⏎a{%+ endif %}⏎  {%+ if yes %}b{% endif %}
x {{ 1 }}⏎⏎  {# comment #}⏎  {% set z = 1 %}  ⏎  {{ z }}␍⏎q␍
{{ {"a": {"b": {"c": 1}}}.a.b.c }}|{{ [[1, [2]]][0][1][0] }}|{{ {"k": "v",} }}|{{ [1, 2,] }}
{{ strftime_now("%Y-%m-%d %H:%M:%S %j %p %I %y %b %B %a %A %e %-d %-m %%") }}
{{ raise_exception("stop: " ~ n) }}
{{ dict(a=1, b=2) }}|{{ dict({"x": 1}) }}|{{ namespace(a=1).a }}
{{ 1 if n is defined and n > 5 and s is string and s else 2 }}|{{ (n > 5) == true }}|{{ n > 5 and not no or nil }}
{{ "%s" }}|{{ "}}" }}|{{ "{%" }}|{{ '"' }}|{{ "'" }}
{{ - 3 | abs }}|{{ 2 ** 3 ** 1 }}|{{ 10 - 2 - 3 }}|{{ 2 * 3 % 4 }}|{{ "a" ~ "b" + "c" }}|{{ 1 ~ 2 * 3 }}
{{ s.foo is defined }}|{{ s.upper is defined }}|{{ p[0]["g"]["h"] }}|{{ d["a"][-1] }}|{{ loop is defined }}
{{ 7.0 is odd }}|{{ 7.5 is divisibleby 2.5 }}|{{ 1e22 % 7 }}|{{ -7.5 // 2 }}|{{ 7.5 % -2 }}|{{ ["<a>" | safe] }}|{{ d[l] }}|{{ missing is callable }}|{{ true | round }}
{{ none | indent }}
{{ n[1:] }}
{{ missing | float }}
{{ "a" }
{% if %}{% endif %}
{% for x %}{% endfor %}
{{ 1 + }}
{% endif %}
{{ x | }}
{% if yes %}
{{ "abc }}
{{ (1 }}
{{ 1 | nosuchfilter }}
{{ 1 is nosuchtest }}
{% nosuchtag %}
{# open
{% break %}
""".split("\n")[1:-1]


class Texts:
    def __init__(self):
        self.all, self.at = [], {}

    def index(self, text):
        if text not in self.at:
            self.at[text] = len(self.all)
            self.all.append(text)
        return self.at[text]


def dump(value):
    return json.dumps(value, ensure_ascii=False)


def find_templates():
    found = {}
    for path in sorted(glob.glob(SHARED + "/**/tokenizer_config.json", recursive=True)):
        config = json.load(open(path))
        if isinstance(config.get("chat_template"), str):
            found[os.path.basename(os.path.dirname(path))] = config["chat_template"]
    return found | TEMPLATES


def render(template, messages, variables, tools, prompt, keep_open):
    """As PreTrainedTokenizerBase.apply_chat_template calls it."""
    messages = [{k: v for k, v in m.items() if v is not None} for m in messages]
    try:
        return hf.render_jinja_template(
            [messages], tools=tools, chat_template=template, add_generation_prompt=prompt, continue_final_message=keep_open,
            **{"bos_token": "<s>", "eos_token": "</s>"} | (variables or {}))[0][0]
    except Exception:
        return None


def render_snippet(template):
    try:
        return hf._compile_jinja_template(template).render(**SNIPPET_VARIABLES)
    except Exception:
        return None


def main():
    texts, cases, snippets = Texts(), [], []
    templates = find_templates()
    for name, template in templates.items():
        for conversation, messages in CONVERSATIONS.items():
            for variables, tools, prompt, keep_open in OPTIONS:
                if keep_open and conversation not in ("prefill", "parts", "turns"):
                    continue
                if tools and conversation in ("thought", "twice", "empty", "parts"):
                    continue
                text = render(template, messages, variables, [TOOL] if tools else None, prompt, keep_open)
                cases.append([name, conversation, dump(variables) if variables else None, tools, prompt, keep_open,
                              -1 if text is None else texts.index(text)])
    for line in SNIPPETS:
        snippet = line.replace("⏎", "\n").replace("␍", "\r")
        text = render_snippet(snippet)
        snippets.append([snippet, -1 if text is None else texts.index(text)])
    os.makedirs(os.path.join(ROOT, "tests/golden/chat"), exist_ok=True)
    with open(os.path.join(ROOT, "tests/golden/chat/goldens.json"), "w") as f:
        json.dump({"time": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()),
                   "conversations": {k: dump(v) for k, v in CONVERSATIONS.items()}, "tools": dump([TOOL]),
                   "templates": templates, "snippet_variables": dump(SNIPPET_VARIABLES), "cases": cases,
                   "snippets": snippets, "texts": texts.all}, f, ensure_ascii=False, indent=0)
        f.write("\n")
    print(len(templates), "templates,", len(cases), "cases,", len(snippets), "snippets,", len(texts.all), "texts")


if __name__ == "__main__":
    main()
