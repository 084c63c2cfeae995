#pragma once

#include "bindings/common.hpp"

#include <memory>

#include "engine/request.hpp"

namespace tea::bindings {

// A request as Python holds it: dropping it cancels the request.
struct PyRequest {
    std::shared_ptr<Request> request;

    explicit PyRequest(std::shared_ptr<Request> request) : request(std::move(request)) {}
    ~PyRequest() { request->cancel(); }
    PyRequest(const PyRequest&) = delete;
    PyRequest& operator=(const PyRequest&) = delete;
};

}  // namespace tea::bindings
