// A dot-product engine: fetches pairs of 8-bit operands through a memory port with unknown latency,
// LANES pairs a word, and keeps up to DEPTH requests in flight.
//
//              +----------+  request   +--------+
//   start ---> | requests | ---------> | memory |
//              | credits  | <--------- |        |
//              +----------+  response  +--------+
//                    |  LANES products a cycle
//                    v
//               accumulator ---> done, sum
module dot #(
    parameter LANES = 1,
    parameter DEPTH = 1
) (
    input  wire                 clk,
    input  wire                 reset,
    input  wire                 start,
    input  wire [31:0]          words,
    output wire                 request,
    output reg  [31:0]          address,
    input  wire                 accepted,
    input  wire                 response,
    input  wire [8*LANES-1:0]   a,
    input  wire [8*LANES-1:0]   b,
    output wire                 done,
    output reg  [63:0]          sum
);
    // Words are addressed by shifts elsewhere.
    generate
        if ((LANES & (LANES - 1)) != 0) begin : check
            LANES_must_be_a_power_of_two invalid();
        end
    endgenerate

    reg [31:0] received;
    reg [31:0] total;
    reg        running;
    wire [31:0] in_flight = address - received;

    assign request = running && address != total && in_flight < DEPTH;
    assign done = running && received == total;

    reg [63:0] products;
    integer lane;
    always @* begin
        products = 0;
        for (lane = 0; lane < LANES; lane = lane + 1)
            products = products + {48'd0, {8'd0, a[8*lane +: 8]} * {8'd0, b[8*lane +: 8]}};
    end

    always @(posedge clk) begin
        if (reset) begin
            running <= 0;
            address <= 0;
            received <= 0;
            sum <= 0;
        end else if (start) begin
            running <= 1;
            total <= words;
            address <= 0;
            received <= 0;
            sum <= 0;
        end else begin
            if (request && accepted) address <= address + 1;
            if (response) begin
                received <= received + 1;
                sum <= sum + products;
            end
        end
    end
endmodule
