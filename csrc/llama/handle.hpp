#pragma once

#include <memory>

#include "llama/abort_guard.hpp"

struct llama_model;
struct llama_context;
struct llama_batch_ext;
struct llama_sampler;
struct ggml_threadpool;

namespace tea {

struct Free {
    void operator()(llama_model* model) const;
    void operator()(llama_context* context) const;
    void operator()(llama_batch_ext* batch) const;
    void operator()(llama_sampler* sampler) const;
    void operator()(ggml_threadpool* pool) const;
};

// Owns an object of llama.cpp. Its pointer is given to guarded code only.
template <typename Object>
class Handle {
  public:
    Handle() = default;
    explicit Handle(Object* object) : object_(object) {}

    Object* get(const runtime::Guard& /*proof*/) const { return object_.get(); }
    explicit operator bool() const { return object_ != nullptr; }
    void reset() { object_.reset(); }
    // Of an object in an unknown state, or one that belongs to the parent of a fork.
    void leak() { (void)object_.release(); }

  private:
    std::unique_ptr<Object, Free> object_;
};

}  // namespace tea
