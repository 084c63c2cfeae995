#include "bindings/common.hpp"

static int pybind11_exec__core(PyObject* module);  // of PYBIND11_MODULE_EXEC, at the end

namespace {

// In a sub-interpreter, in which some servers run their applications, pybind11's start would wait for ever.
int exec_in_main_interpreter(PyObject* module) {
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) {
        return pybind11_exec__core(module);
    }
    PyObject* message = PyUnicode_FromString(
        "tea_llm runs only in the main interpreter of a process, and this is a sub-interpreter: set "
        "'WSGIApplicationGroup %{GLOBAL}' for mod_wsgi, 'single-interpreter = true' for uWSGI, or use "
        "processes");
    PyObject* name = PyUnicode_FromString("tea_llm");  // python/tea_llm/_native.py asks for it
    PyErr_SetImportError(message, name, nullptr);
    Py_XDECREF(name);
    Py_XDECREF(message);
    return -1;
}

}  // namespace

// As PYBIND11_MODULE would define it, except for the check above.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
    static PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void*>(&exec_in_main_interpreter)},
#ifdef Py_mod_multiple_interpreters  // so that it is asked in all of them
                                       {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil  // all of it is safe to use from many threads at once, with a GIL or without one
                                       {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
                                       {0, nullptr}};
    static PyModuleDef definition{
        PyModuleDef_HEAD_INIT, "_core", nullptr, 0, nullptr, slots, nullptr, nullptr, nullptr};
    return PyModuleDef_Init(&definition);
}

PYBIND11_MODULE_EXEC(_core, module) {
    module.doc() = "The native engine of tea-llm. Private: use the names in tea_llm.";
    tea::bindings::register_errors(module);
    tea::bindings::register_runtime(module);
    tea::bindings::register_model(module);
    tea::bindings::register_chat_format(module);
    tea::bindings::register_request(module);
    tea::bindings::register_engine(module);
    tea::bindings::register_embedder(module);
    tea::bindings::register_files(module);
}
