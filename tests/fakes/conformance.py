#!/usr/bin/env python3
"""A well-behaved MCP server with everything that the official conformance suite asks a server for.

It speaks the session era and the stateless era, over standard input and output, or over HTTP on
127.0.0.1 with `--http PORT` (0: any; the port is printed). Each request says by itself which era it
is of: `_meta` with a protocol version is stateless. Only what the Python standard library has.
"""

import base64
import hashlib
import hmac
import itertools
import json
import os
import queue
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATELESS = "2026-07-28"
SESSION = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
META = "io.modelcontextprotocol/"
INFO = {"name": "conformance-fixture", "version": "1.0.0"}
INVALID, NO_METHOD = -32602, -32601
MISMATCH, NO_CAPABILITY, NO_VERSION = -32020, -32021, -32022
LOST = ("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")
CACHED = ("server/discover", "tools/list", "prompts/list", "resources/list",
          "resources/templates/list", "resources/read")

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
KEY = os.urandom(32)


class Fault(Exception):
    """A JSON-RPC error."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.error = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


# --- what asks, and how it is answered --------------------------------------------------------------


class Question:
    """A request on its way: who asked, and a line back to them."""

    def __init__(self, message, wire):
        self.id, self.method = message.get("id"), message["method"]
        self.params = message.get("params") or {}
        self.meta = self.params.get("_meta") or {}
        self.wire = wire

    def tell(self, method, params):
        self.wire.send({"jsonrpc": "2.0", "method": method, "params": params})

    def progress(self, done, of):
        token = self.meta.get("progressToken")
        if token is not None:
            self.tell("notifications/progress", {"progressToken": token, "progress": done, "total": of,
                                                 "message": f"Completed step {done} of {of}"})

    def log(self, text):
        """In the stateless era only where the request wants log messages."""
        if not self.is_stateless() or self.meta.get(META + "logLevel"):
            self.tell("notifications/message", {"level": "info", "data": text})

    def is_stateless(self):
        return META + "protocolVersion" in self.meta

    def ask(self, method, params):
        """Session era: asks the client and waits for what it says."""
        return self.wire.ask(method, params)

    def can(self, capability):
        """Stateless era: did the client declare it?"""
        return capability in self.meta.get(META + "clientCapabilities", {})


class Asks:
    """Requests of this server that wait for their client."""

    def __init__(self):
        self.numbers, self.waiting = itertools.count(1), {}

    def begin(self):
        number, answer = f"fixture-{next(self.numbers)}", queue.Queue()
        self.waiting[number] = answer
        return number, answer

    def answered(self, message):
        answer = self.waiting.pop(message.get("id"), None)
        if answer is not None:
            answer.put(message)

    @staticmethod
    def wait(answer):
        try:
            message = answer.get(timeout=30)
        except queue.Empty:
            raise Fault(-32603, "the client said nothing") from None
        if "error" in message:
            raise Fault(message["error"]["code"], message["error"]["message"])
        return message["result"]


ASKS = Asks()


class Listeners:
    """Open `subscriptions/listen`, and in the session era everybody."""

    def __init__(self):
        self.lock, self.open = threading.Lock(), {}

    def begin(self, question):
        wish = question.params.get("notifications") or {}
        kept = {name: True for name in ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
                if wish.get(name) is True}
        # Acknowledged before anything else can be told.
        with self.lock:
            self.tell(question, "notifications/subscriptions/acknowledged", {"notifications": kept})
            self.open[question.id] = (question, kept)

    def end(self, identity):
        with self.lock:
            self.open.pop(identity, None)

    def changed(self, what, question):
        method = f"notifications/{what}/list_changed"
        with self.lock:
            if not question.is_stateless():
                question.tell(method, {})
            for listener, kept in list(self.open.values()):
                if f"{what}ListChanged" in kept:
                    self.tell(listener, method, {})

    @staticmethod
    def tell(question, method, params):
        try:
            question.tell(method, {"_meta": {META + "subscriptionId": question.id}, **params})
        except OSError:
            pass  # Its stream is closing.


LISTENERS = Listeners()


# --- state that a client carries ----------------------------------------------------------------------


def seal(**state):
    state["nonce"] = os.urandom(8).hex()
    data = base64.urlsafe_b64encode(json.dumps(state).encode()).decode()
    return data + "." + hmac.new(KEY, data.encode(), hashlib.sha256).hexdigest()


def unseal(text):
    data, _, mac = str(text).partition(".")
    if not hmac.compare_digest(hmac.new(KEY, data.encode(), hashlib.sha256).hexdigest(), mac):
        raise Fault(INVALID, "requestState is not what this server gave")
    return json.loads(base64.urlsafe_b64decode(data))


def form(message, **properties):
    return {"method": "elicitation/create", "params": {
        "message": message,
        "requestedSchema": {"type": "object", "properties": properties, "required": list(properties)}}}


def sample(text, most):
    return {"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}], "maxTokens": most}}


def needs(requests, **state):
    result = {"resultType": "input_required", "inputRequests": requests}
    if state:
        result["requestState"] = seal(**state)
    return result


def said(question, name):
    """The client's answer to an input request; nothing where it is missing or no object."""
    answers = question.params.get("inputResponses")
    answer = answers.get(name) if isinstance(answers, dict) else None
    return answer if isinstance(answer, dict) else None


def field(answer, name):
    return (answer.get("content") or {}).get(name, "unknown")


# --- tools ----------------------------------------------------------------------------------------------


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def embedded(uri, mime, value):
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": value}}


def image():
    return {"type": "image", "data": PNG, "mimeType": "image/png"}


TOOLS = {}


def tool(description, **properties):
    def add(function):
        schema = {"type": "object", "properties": properties}
        if properties:
            schema["required"] = list(properties)
        TOOLS[function.__name__] = ({"name": function.__name__, "description": description,
                                     "inputSchema": schema}, function)
        return function
    return add


@tool("Gives a text")
def test_simple_text(question, arguments):
    return text("This is a simple text response for testing.")


@tool("Gives an image")
def test_image_content(question, arguments):
    return {"content": [image()]}


@tool("Gives a sound")
def test_audio_content(question, arguments):
    return {"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]}


@tool("Gives a resource")
def test_embedded_resource(question, arguments):
    return {"content": [embedded("test://embedded-resource", "text/plain",
                                 "This is an embedded resource content.")]}


@tool("Gives a text, an image and a resource")
def test_multiple_content_types(question, arguments):
    return {"content": [{"type": "text", "text": "Multiple content types test:"}, image(),
                        embedded("test://mixed-content-resource", "application/json",
                                 json.dumps({"test": "data", "value": 123}))]}


@tool("Tells what it does")
def test_tool_with_logging(question, arguments):
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        question.log(line)
    return text("Tool with logging executed successfully")


@tool("Tells how far it is")
def test_tool_with_progress(question, arguments):
    for done in (0, 50, 100):
        question.progress(done, 100)
    return text(str(question.meta.get("progressToken", 0)))


@tool("Fails")
def test_error_handling(question, arguments):
    return {**text("This tool intentionally returns an error for testing"), "isError": True}


@tool("Asks the client's model", prompt={"type": "string"})
def test_sampling(question, arguments):
    asked = sample(arguments["prompt"], 100)
    if question.is_stateless():
        answer = said(question, "sample")
        if answer is None:
            return needs({"sample": asked})
    else:
        answer = question.ask(asked["method"], asked["params"])
    content = answer.get("content") or {}
    return text(f"LLM response: {content.get('text', 'No response')}")


def elicits(question, begin, asked):
    if question.is_stateless():
        answer = said(question, "form")
        if answer is None:
            return needs({"form": asked})
    else:
        answer = question.ask(asked["method"], asked["params"])
    return text(f"{begin}: action={answer.get('action')}, content={json.dumps(answer.get('content') or {})}")


@tool("Asks the client's user", message={"type": "string"})
def test_elicitation(question, arguments):
    return elicits(question, "User response",
                   form(arguments["message"], response={"type": "string", "description": "User's response"}))


@tool("Asks the client's user, with defaults")
def test_elicitation_sep1034_defaults(question, arguments):
    asked = form("Please review and update the form fields with defaults",
                 name={"type": "string", "description": "User name", "default": "John Doe"},
                 age={"type": "integer", "description": "User age", "default": 30},
                 score={"type": "number", "description": "User score", "default": 95.5},
                 status={"type": "string", "description": "User status",
                         "enum": ["active", "inactive", "pending"], "default": "active"},
                 verified={"type": "boolean", "description": "Verification status", "default": True})
    asked["params"]["requestedSchema"]["required"] = []
    return elicits(question, "Elicitation completed", asked)


@tool("Asks the client's user to choose")
def test_elicitation_sep1330_enums(question, arguments):
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"{name} Option"}
              for n, name in enumerate(("First", "Second", "Third"), 1)]
    asked = form("Please select options from the enum fields",
                 untitledSingle={"type": "string", "enum": plain},
                 titledSingle={"type": "string", "oneOf": titled},
                 legacyEnum={"type": "string", "enum": ["opt1", "opt2", "opt3"],
                             "enumNames": ["Option One", "Option Two", "Option Three"]},
                 untitledMulti={"type": "array", "minItems": 1, "maxItems": 3,
                                "items": {"type": "string", "enum": plain}},
                 titledMulti={"type": "array", "minItems": 1, "maxItems": 3, "items": {"anyOf": titled}})
    asked["params"]["requestedSchema"]["required"] = []
    return elicits(question, "Elicitation completed", asked)


@tool("Needs a client that has a model")
def test_missing_capability(question, arguments):
    if not question.can("sampling"):
        raise Fault(NO_CAPABILITY, "the client has not declared sampling",
                    {"requiredCapabilities": {"sampling": {}}})
    return text("Success")


@tool("Tells how far it is before it gives its result")
def test_streaming_elicitation(question, arguments):
    question.progress(50, 100)
    return text("Streaming complete")


@tool("Tells what it does where the request wants that")
def test_logging_tool(question, arguments):
    question.log("Diagnostic trace logging activated")
    return text("Logging evaluated")


@tool("Says that the list of tools has changed")
def test_trigger_tool_change(question, arguments):
    LISTENERS.changed("tools", question)
    return text("Mutation triggered")


@tool("Says that the list of prompts has changed")
def test_trigger_prompt_change(question, arguments):
    LISTENERS.changed("prompts", question)
    return text("Mutation triggered")


NAME, OK = {"type": "string"}, {"type": "boolean"}


@tool("Needs a name first")
def test_input_required_result_elicitation(question, arguments):
    answer = said(question, "user_name")
    if answer is None:
        return needs({"user_name": form("What is your name?", name=NAME)})
    return text(f"Hello, {field(answer, 'name')}!")


@tool("Needs a model's answer first")
def test_input_required_result_sampling(question, arguments):
    answer = said(question, "capital_question")
    if answer is None:
        return needs({"capital_question": sample("What is the capital of France?", 100)})
    return text(f"Sampling result: {field(answer, 'text')}")


@tool("Needs the client's roots first")
def test_input_required_result_list_roots(question, arguments):
    answer = said(question, "client_roots")
    if answer is None:
        return needs({"client_roots": {"method": "roots/list", "params": {}}})
    return text(f"Found {len(answer.get('roots', []))} root(s)")


def confirmed(question, kind, say):
    state = question.params.get("requestState")
    if state is not None and unseal(state).get("kind") == kind and said(question, "confirm"):
        return text(say)
    return needs({"confirm": form("Please confirm", ok=OK)}, kind=kind)


@tool("Lets the client carry its state")
def test_input_required_result_request_state(question, arguments):
    return confirmed(question, "request-state", "state-ok: requestState validated")


@tool("Takes no state that is not its own")
def test_input_required_result_tampered_state(question, arguments):
    return confirmed(question, "tampered-state", "integrity-ok: state verified")


@tool("Needs three things first")
def test_input_required_result_multiple_inputs(question, arguments):
    answers = [said(question, name) for name in ("user_name", "greeting", "client_roots")]
    if None in answers or unseal(question.params.get("requestState")).get("kind") != "multiple":
        return needs({"user_name": form("What is your name?", name=NAME),
                      "greeting": sample("Generate a greeting", 50),
                      "client_roots": {"method": "roots/list", "params": {}}}, kind="multiple")
    name, greeting, roots = answers
    return text(f"{field(name, 'name')}; {field(greeting, 'text')}; {len(roots.get('roots', []))} root(s)")


@tool("Needs one thing, and then another")
def test_input_required_result_multi_round(question, arguments):
    state = question.params.get("requestState")
    state = unseal(state) if state is not None else {}
    first, second = said(question, "step1"), said(question, "step2")
    if state.get("round") == 1 and first:
        return needs({"step2": form("Step 2: What is your favorite color?", color=NAME)},
                     round=2, name=field(first, "name"))
    if state.get("round") == 2 and second:
        return text(f"Multi-round complete for {state['name']} who likes {field(second, 'color')}")
    return needs({"step1": form("Step 1: What is your name?", name=NAME)}, round=1)


@tool("Asks only for what the client can do")
def test_input_required_result_capabilities(question, arguments):
    requests = {}
    if question.can("elicitation"):
        requests["elicit_input"] = form("Elicitation input", value=NAME)
    if question.can("sampling"):
        requests["sample_input"] = sample("Sample request", 50)
    answers = question.params.get("inputResponses")
    if answers or not requests:
        return text(f"capabilities-ok: received {','.join(answers or [])}")
    return needs(requests, kind="capabilities")


# --- resources and prompts --------------------------------------------------------------------------------


RESOURCES = {
    "test://static-text": ("static-text", "text/plain", "This is the content of the static text resource."),
    "test://static-binary": ("static-binary", "image/png", None),
    "test://watched-resource": ("watched-resource", "text/plain", "Watched resource content"),
}
TEMPLATE = re.compile(r"test://template/([^/]+)/data")


def read(uri):
    found = TEMPLATE.fullmatch(uri)
    if found:
        data = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(data)}
    if uri not in RESOURCES:
        raise Fault(INVALID, "Resource not found", {"uri": uri})
    _, mime, value = RESOURCES[uri]
    return {"uri": uri, "mimeType": mime, **({"blob": PNG} if value is None else {"text": value})}


def user(content):
    return {"role": "user", "content": content}


def line(value):
    return user({"type": "text", "text": value})


PROMPTS = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}


def prompt(question):
    name, arguments = question.params.get("name"), question.params.get("arguments") or {}
    missing = [one for one in PROMPTS.get(name, ("name",)) if one not in arguments]
    if missing:
        raise Fault(INVALID, f"unknown prompt or missing arguments: {', '.join(missing)}")
    if name == "test_simple_prompt":
        messages = [line("This is a simple prompt for testing.")]
    elif name == "test_prompt_with_arguments":
        messages = [line(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
    elif name == "test_prompt_with_embedded_resource":
        messages = [user(embedded(arguments["resourceUri"], "text/plain",
                                  "Embedded resource content for testing.")),
                    line("Please process the embedded resource above.")]
    elif name == "test_prompt_with_image":
        messages = [user(image()), line("Please analyze the image above.")]
    else:
        answer = said(question, "user_context")
        if answer is None:
            return needs({"user_context": form("What context should the prompt use?", context=NAME)})
        messages = [line(f"Prompt with context: {field(answer, 'context')}")]
    return {"messages": messages}


# --- methods ------------------------------------------------------------------------------------------------


def capabilities(stateless):
    able = {"tools": {"listChanged": True}, "prompts": {"listChanged": True}, "completions": {},
            "resources": {} if stateless else {"subscribe": True}, "logging": {}}
    return able


def method(question):
    """The result of a request; `subscriptions/listen` has none until it ends."""
    name, params = question.method, question.params
    if name in LOST and question.is_stateless():
        raise Fault(NO_METHOD, "this method is no longer there")
    if name == "initialize":
        version = params.get("protocolVersion")
        return {"protocolVersion": version if version in SESSION else SESSION[0],
                "capabilities": capabilities(False), "serverInfo": INFO}
    if name == "server/discover":
        return {"supportedVersions": [STATELESS], "capabilities": capabilities(True),
                "_meta": {META + "serverInfo": INFO}}
    if name in ("ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"):
        return {}
    if name == "tools/list":
        return {"tools": [listed for listed, _ in TOOLS.values()]}
    if name == "tools/call":
        if params.get("name") not in TOOLS:
            raise Fault(INVALID, f"there is no tool {params.get('name')}")
        return TOOLS[params["name"]][1](question, params.get("arguments") or {})
    if name == "resources/list":
        return {"resources": [{"uri": uri, "name": called, "mimeType": mime, "description": "For testing"}
                              for uri, (called, mime, _) in RESOURCES.items()]}
    if name == "resources/templates/list":
        return {"resourceTemplates": [{"uriTemplate": "test://template/{id}/data", "name": "template",
                                       "mimeType": "application/json"}]}
    if name == "resources/read":
        return {"contents": [read(params.get("uri", ""))]}
    if name == "prompts/list":
        return {"prompts": [{"name": one, "description": "For testing",
                             "arguments": [{"name": argument, "required": True} for argument in arguments]}
                            for one, arguments in PROMPTS.items()]}
    if name == "prompts/get":
        return prompt(question)
    if name == "completion/complete":
        return {"completion": {"values": [], "total": 0, "hasMore": False}}
    raise Fault(NO_METHOD, "method not found")


def fit(question, header=None):
    """Stateless era: refuses a request whose `_meta` is not whole. `header`: the version beside it."""
    version = question.meta.get(META + "protocolVersion")
    if not isinstance(version, str) or not isinstance(question.meta.get(META + "clientCapabilities"), dict):
        raise Fault(INVALID, "_meta lacks protocolVersion or clientCapabilities")
    if header is not None and header != version:
        raise Fault(MISMATCH, "MCP-Protocol-Version is not that of _meta")
    if version != STATELESS:
        raise Fault(NO_VERSION, "unsupported protocol version",
                    {"supported": [STATELESS], "requested": version})


def answer(question):
    """The whole answer to a request."""
    message = {"jsonrpc": "2.0", "id": question.id}
    try:
        if question.is_stateless() or question.method == "server/discover":
            fit(question)
        result = method(question)
        if question.is_stateless():
            result.setdefault("resultType", "complete")
            if question.method in CACHED:
                result.update(ttlMs=300_000, cacheScope="private")
        message["result"] = result
    except Fault as fault:
        message["error"] = fault.error
    return message


# --- standard input and output -----------------------------------------------------------------------------


class Stdio:
    def __init__(self):
        self.lock = threading.Lock()

    def send(self, message):
        with self.lock:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    def ask(self, name, params):
        number, waiting = ASKS.begin()
        self.send({"jsonrpc": "2.0", "id": number, "method": name, "params": params})
        return ASKS.wait(waiting)

    def serve(self):
        for raw in sys.stdin:
            message = json.loads(raw)
            if "method" not in message:
                ASKS.answered(message)
            elif "id" not in message:
                if message["method"] == "notifications/cancelled":
                    LISTENERS.end(message["params"].get("requestId"))
            elif message["method"] == "subscriptions/listen":
                LISTENERS.begin(Question(message, self))
            else:
                threading.Thread(target=self.one, args=(Question(message, self),), daemon=True).start()

    def one(self, question):
        self.send(answer(question))


# --- HTTP ------------------------------------------------------------------------------------------------------


class Stream:
    """An answer that is a stream of events from its first message on."""

    def __init__(self, handler):
        self.handler, self.lock, self.begun = handler, threading.Lock(), False

    def send(self, message):
        with self.lock:
            if not self.begun:
                self.begun = True
                self.handler.head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
            self.handler.wfile.write(b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n")
            self.handler.wfile.flush()

    def ask(self, name, params):
        number, waiting = ASKS.begin()
        self.send({"jsonrpc": "2.0", "id": number, "method": name, "params": params})
        return ASKS.wait(waiting)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sessions = set()

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True  # Nobody waits for the answer any more.

    def head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = headers.get("Connection") == "close"

    def json(self, status, message, **headers):
        body = json.dumps(message).encode() if message is not None else b""
        self.head(status, {"Content-Type": "application/json", "Content-Length": str(len(body)),
                           **{name.replace("_", "-"): value for name, value in headers.items()}})
        self.wfile.write(body)

    def is_local(self):
        """Neither `Host` nor `Origin` of another name: a page of the web must not come here."""
        names = [self.headers.get("Host", "")]
        if "Origin" in self.headers:
            names.append(self.headers["Origin"].partition("://")[2])
        port = self.server.server_address[1]
        return all(name in (f"127.0.0.1:{port}", f"localhost:{port}") for name in names)

    def do_GET(self):
        self.json(405 if self.is_local() else 403, None)

    def do_DELETE(self):
        known = self.is_local() and self.headers.get("Mcp-Session-Id") in self.sessions
        self.sessions.discard(self.headers.get("Mcp-Session-Id"))
        self.json(200 if known else 404, None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.is_local():
            return self.json(403, None)
        message = json.loads(body)
        if "method" not in message:
            ASKS.answered(message)
            return self.json(202, None)
        if "id" not in message:
            return self.json(202, None)
        question = Question(message, Stream(self))
        version = self.headers.get("MCP-Protocol-Version")
        is_session = question.method == "initialize" or version in SESSION
        if not question.is_stateless() and is_session:
            return self.in_session(question)
        return self.stateless(question, version)

    def in_session(self, question):
        if question.method == "initialize":
            session = os.urandom(16).hex()
            self.sessions.add(session)
            return self.json(200, answer(question), Mcp_Session_Id=session)
        if self.headers.get("Mcp-Session-Id") not in self.sessions:
            return self.json(404, {"jsonrpc": "2.0", "id": question.id,
                                   "error": {"code": -32001, "message": "no such session"}})
        return self.last(question, answer(question), 200)

    def stateless(self, question, version):
        try:
            fit(question, version if version is not None else "")
        except Fault as fault:
            return self.json(400, {"jsonrpc": "2.0", "id": question.id, "error": fault.error})
        if question.method == "subscriptions/listen":
            LISTENERS.begin(question)
            # Until the client closes.
            self.rfile.read(1)
            return LISTENERS.end(question.id)
        message = answer(question)
        code = message.get("error", {}).get("code")
        status = {NO_METHOD: 404, NO_CAPABILITY: 400}.get(code, 200)
        return self.last(question, message, status)

    def last(self, question, message, status):
        """The answer: on the stream where there is one already."""
        if question.wire.begun:
            question.wire.send(message)
        else:
            self.json(status, message)


def main():
    if sys.argv[1:2] == ["--http"]:
        server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        server.serve_forever()
    else:
        Stdio().serve()


main()
