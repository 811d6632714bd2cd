"""The smallest pipeline: two Python tasks, a program and a built-in task.

Run it with: rainzmq local -- python examples/hello.py
"""

from rainzmq import Client, Input, blob, remote, tasks


@remote
def greeting(ctx, name):
    return f"Hello, {name}!\n"


with Client() as client, client.new_session("hello"):
    greetings = [greeting(name) for name in ("Ada", "Grace")]
    text = tasks.Concat([*greetings, blob("Hello, everybody!\n")])
    upper = tasks.Execute(["tr", "a-z", "A-Z"], stdin=Input("text", dataobj=text), stdout=True)
    upper.output.keep()
    upper.session.submit()
    print(upper.output.fetch().get_str(), end="")
