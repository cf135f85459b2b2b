"""python3 check.py <source> name(input,...) ...: says at once what the component's own Python would say only after it was made."""

import ast
import sys

# The component's Python knows more than an older one that looks at the source here.
VERSION_MIN = (3, 12)


def main():
    path, *methods = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        tree = ast.parse(text, path)
    except SyntaxError as error:
        if sys.version_info < VERSION_MIN:
            return
        sys.exit(f"{path}:{error.lineno}: SyntaxError: {error.msg}\n{(error.text or '').rstrip()}")
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    # Names that come another way (assigned, imported) are checked when the component is made.
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    bound = {alias.asname or alias.name for node in imports for alias in node.names}
    plain = (ast.FunctionDef, ast.Import, ast.ImportFrom, ast.ClassDef, ast.Expr)
    others = "*" in bound or not all(isinstance(node, plain) for node in tree.body)
    problems = []
    for method in methods:
        name, _, inputs = method.rstrip(")").partition("(")
        wanted = [each for each in inputs.split(",") if each]
        if name in functions:
            arguments = functions[name]
            taken = [each.arg for each in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
            required = taken[: len(arguments.args) - len(arguments.defaults)]
            fits = set(required) <= set(wanted) and (arguments.kwarg or set(wanted) <= set(taken))
            if not fits or arguments.posonlyargs:
                problems.append(f"{path}: `{name}` must take ({', '.join(wanted)}), not ({', '.join(taken)})")
        elif not others and name not in bound:
            problems.append(f"{path}: a method of cryptlet.toml must be a function `{name}({', '.join(wanted)})`")
    if problems:
        sys.exit("\n".join(problems))


main()
