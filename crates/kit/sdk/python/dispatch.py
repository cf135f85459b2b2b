"""From the component's one function to the developer's functions."""

import inspect

from componentize_py_types import Err
from wit_world.imports import types

import cryptlet
from cryptlet.abi import Type, decode, encode


class Method:
    """A method of the manifest and the function that answers it."""

    def __init__(self, module, name, function, inputs, outputs):
        self.name = name
        self.run = getattr(module, function, None)
        if not callable(self.run):
            raise TypeError(f"method `{name}` of cryptlet.toml must be a function `{function}`")
        self.inputs = [Type(kind) for _, kind in inputs]
        self.input_names = [name for name, _ in inputs]
        self.outputs = [Type(kind) for _, kind in outputs]
        self.output_names = [name for name, _ in outputs]
        try:
            inspect.signature(self.run).bind(**dict.fromkeys(self.input_names))
        except TypeError as error:
            wanted = ", ".join(self.input_names)
            raise TypeError(f"`{function}` must take ({wanted}): {error}") from None

    def answer(self, data):
        outputs = self.run(**dict(zip(self.input_names, decode(self.inputs, data))))
        if len(self.outputs) == 1:
            outputs = [outputs]
        elif not self.outputs:
            outputs = []
        elif not isinstance(outputs, (tuple, list)) or len(outputs) != len(self.outputs):
            raise TypeError(f"`{self.name}` must return {', '.join(self.output_names)}")
        return encode(self.outputs, outputs, self.output_names)


def handle(methods, name, data):
    method = methods.get(name)
    try:
        if method is None:
            raise cryptlet.InvalidInput(f"there is no method {name}")
        return method.answer(data)
    except cryptlet.InvalidInput as error:
        raise Err(types.CryptletError_InvalidInput(str(error))) from None
    except cryptlet.Denied as error:
        raise Err(types.CryptletError_Denied(str(error))) from None
    except cryptlet.Unavailable as error:
        raise Err(types.CryptletError_Unavailable(str(error))) from None
    except cryptlet.Internal as error:
        raise Err(types.CryptletError_Internal(str(error))) from None
    except Exception as error:
        cryptlet.log.error(f"{type(error).__name__}: {error}\n{where(error)}")
        raise Err(types.CryptletError_Internal(f"{type(error).__name__}: {error}")) from None


def where(error):
    """The frames of an error, without their lines: the module that knows how to show those reads files."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"  {code.co_filename}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return "\n".join(frames)
