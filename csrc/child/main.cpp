// tea-llm-child: work with files and kernels that may crash, in a process of its own.
// python/tea_llm/_child.py starts it. The last line that it writes is its answer: a JSON object with
// "result", or with "error" and "kind" (an ErrorKind). It ends when its standard input does, that is, with
// its parent.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "engine/engine.hpp"
#include "llama/backend_modules.hpp"
#include "llama/kernel_check.hpp"
#include "llama/model.hpp"
#include "llama/quantizer.hpp"
#include "llama/runtime.hpp"
#include "machine/machine.hpp"
#include "nlohmann/json.hpp"

#ifdef _WIN32
#include <filesystem>
#endif

namespace {

using nlohmann::json;

json probe(const std::string& path) {
    tea::ModelOptions model_options;
    model_options.path = path;
    const auto model = tea::Model::load(model_options, [](float) { return true; });
    tea::EngineOptions options;
    options.n_ctx = 256;
    options.n_parallel = 1;
    tea::Engine engine(model, options);
    const bool generates = model->memory_class() != tea::MemoryClass::none;
    if (generates) {
        tea::RequestOptions request_options;
        request_options.prompt = {0};
        request_options.max_tokens = 1;
        const auto request = engine.submit(request_options, {0}).front();
        while (!request->wait(std::chrono::seconds(1))) {
        }
        request->result();  // throws what went wrong
    }
    engine.close();
    return {{"generates", generates}};
}

json quantize(const std::vector<std::string>& arguments) {
    tea::quantize(arguments[0], arguments[1], arguments[2], std::stoi(arguments[3]), arguments[4] == "1");
    return json::object();
}

// NaN and infinity become null.
json kernels(double seconds) {
    tea::runtime::initialize();
    const int n_threads = tea::machine::usable_cores();
    json variants = json::array();
    for (const auto& variant : tea::backend_modules::cpu_variants()) {
        variants.push_back(
            {{"name", variant.name}, {"score", variant.score}, {"is_in_use", variant.is_in_use}});
    }
    json devices = json::array();
    for (const auto& device : tea::runtime::devices()) {
        devices.push_back({{"name", device.name},
                           {"description", device.description},
                           {"memory_bytes", device.memory_bytes}});
    }
    json checks = json::array();
    for (const auto& check : tea::check_kernels(seconds, n_threads)) {
        checks.push_back({{"type", check.type},
                          {"kernels", check.is_ours ? "tea-llm" : "llama.cpp"},
                          {"memory", check.memory},
                          {"error", check.error},
                          {"gflops", check.gflops}});
    }
    return {{"variants", variants},
            {"kernels", tea::runtime::system_info()},
            {"n_threads", n_threads},
            {"devices", devices},
            {"self_test", checks}};
}

json work(std::vector<std::string> arguments) {
    std::vector<std::string> directories;
    while (arguments.size() >= 2 && arguments[0] == "--modules") {
        directories.push_back(arguments[1]);
        arguments.erase(arguments.begin(), arguments.begin() + 2);
    }
    tea::backend_modules::set_directories(directories);
    const std::string name = arguments.empty() ? "" : arguments[0];
    const size_t n_given = arguments.empty() ? 0 : arguments.size() - 1;
    if (name == "probe" && n_given == 1) {
        return probe(arguments[1]);
    }
    if (name == "quantize" && n_given == 5) {
        return quantize({arguments.begin() + 1, arguments.end()});
    }
    if (name == "kernels" && n_given == 1) {
        return kernels(std::stod(arguments[1]));
    }
    throw tea::Error(tea::ErrorKind::invalid_argument,
                     "tea-llm-child is started by the Python package tea_llm, not by hand");
}

json failure(tea::ErrorKind kind, const std::string& message) {
    return {{"error", message}, {"kind", static_cast<int>(kind)}};
}

json answer(std::vector<std::string> arguments) {
    try {
        return {{"result", work(std::move(arguments))}};
    } catch (const tea::Error& error) {
        return failure(error.kind, error.what());
    } catch (const std::exception& error) {
        return failure(tea::ErrorKind::inference, error.what());
    }
}

void end_with_parent() {
    while (std::getchar() != EOF) {
    }
    std::_Exit(1);
}

// Does not return: exit() would wait for the thread that reads standard input.
[[noreturn]] void run(std::vector<std::string> arguments) {
    json said;
    try {
        std::thread(end_with_parent).detach();
        said = answer(std::move(arguments));
    } catch (const std::system_error& error) {
        said = failure(tea::ErrorKind::inference, error.what());
    }
    const std::string line = said.dump(-1, ' ', true, json::error_handler_t::replace);
    const bool is_written = std::printf("\n%s\n", line.c_str()) > 0 && std::fflush(stdout) == 0;
    std::_Exit(is_written && said.contains("result") ? 0 : 1);
}

}  // namespace

#ifdef _WIN32
int wmain(int n_arguments, wchar_t** arguments) try {
    std::vector<std::string> texts;
    for (int i = 1; i < n_arguments; ++i) {
        texts.push_back(std::filesystem::path(arguments[i]).u8string());
    }
    run(std::move(texts));
#else
int main(int n_arguments, char** arguments) try {
    run({arguments + 1, arguments + n_arguments});
#endif
} catch (const std::exception& error) {  // there is no memory even for an answer
    std::fputs(error.what(), stderr);
    std::_Exit(1);
}
