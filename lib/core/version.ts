/** Of tapehouse and its API; goes up with the API's contract. */
export const version = "0.1.0";
